// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	chartFolder = repository + "/charts/sluice"
	// systemNamespace is that of the overlays.
	systemNamespace = "sluice-system"
)

// modes are the ways of running Sluice, each an overlay, with the values by which the chart renders the same.
var modes = map[string]map[string]any{
	"embedded": {"createNamespace": true},
	"ha":       {"createNamespace": true, "mode": "ha"},
	"external-etcd": {
		"createNamespace": true, "mode": "external-etcd",
		"externalEtcd": map[string]any{"servers": []any{"https://etcd.example.com:2379"}},
	},
}

// objects are what is rendered, by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func (o objects) names() []string { return slices.Sorted(maps.Keys(o)) }

// parse reads objects from a text, none of them twice.
func parse(text string) (objects, error) {
	all := objects{}
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		key := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if all[key] != nil {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		all[key] = object
	}
}

// overlay renders an overlay.
func overlay(t *testing.T, mode string) objects {
	t.Helper()
	folder := filepath.Join(repository, "artifacts", "overlays", mode)
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// helm renders the chart as "helm template" does, the values checked by the schema.
func helm(namespace string, values map[string]any) (objects, error) {
	chart, err := loader.Load(chartFolder)
	if err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: "sluice", Namespace: namespace, IsInstall: true, Revision: 1}
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) == ".yaml" {
			text.WriteString("---\n" + files[name] + "\n")
		}
	}
	return parse(text.String())
}

// rendered renders the chart with values that are right.
func rendered(t *testing.T, values map[string]any) objects {
	t.Helper()
	all, err := helm(systemNamespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
