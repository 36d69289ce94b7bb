// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// As a component the folder adds its entries to the ConfigMap that is there, and keeps the others.
func TestComponent(t *testing.T) {
	files := filesys.MakeFsInMemory()
	write := func(path, content string) {
		t.Helper()
		if err := files.WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kustomization.yaml", "argocd-cm.yaml"} {
		content, err := os.ReadFile(filepath.Join(shipped.Root, "artifacts/integrations/argocd", name))
		if err != nil {
			t.Fatal(err)
		}
		write("component/"+name, string(content))
	}
	write("argocd/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n  url: https://argocd.example.com\n")
	write("argocd/kustomization.yaml", "resources: [cm.yaml]\ncomponents: [../component]\n")
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "argocd")
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		t.Fatal(err)
	}
	if len(configMap.Data) != 3 || configMap.Data["url"] != "https://argocd.example.com" ||
		!strings.Contains(configMap.Data["resource.customizations.health.sluice.dev_Rollout"], "observedGeneration") {
		t.Errorf("the ConfigMap is\n%s", text)
	}
}
