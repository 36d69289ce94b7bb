// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// configMapPath is where the entries for argocd-cm are, in the source tree.
const configMapPath = "artifacts/integrations/argocd/argocd-cm.yaml"

// Write writes the entries of the ConfigMap argocd-cm that have the content of the scripts.
func (s Scripts) Write() error {
	text, err := s.configMap()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Root, configMapPath), []byte(text), 0o644)
}

// configMap is the text of the patch. It is written out rather than marshalled, so that scripts stay readable.
func (s Scripts) configMap() (string, error) {
	names, err := s.actionNames()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`# Written by "make argocd" from the scripts in sluice.dev/Rollout. Do not edit.
#
# For Argo CD: the health of Rollouts, and what can be done with them, as entries of its ConfigMap. With
# kustomize take this folder as a component; it is a patch otherwise:
#
#   kubectl patch configmap argocd-cm -n argocd --patch-file argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
data:
  resource.customizations.health.sluice.dev_Rollout: |
`)
	if err := s.quote(&b, "    ", "health.lua"); err != nil {
		return "", err
	}
	b.WriteString("  resource.customizations.actions.sluice.dev_Rollout: |\n    discovery.lua: |\n")
	if err := s.quote(&b, "      ", "actions", "discovery.lua"); err != nil {
		return "", err
	}
	b.WriteString("    definitions:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "    - name: %s\n      action.lua: |\n", name)
		if err := s.quote(&b, "        ", "actions", name, "action.lua"); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// quote writes the lines of a script behind an indentation.
func (s Scripts) quote(b *strings.Builder, indent string, path ...string) error {
	script, err := os.ReadFile(filepath.Join(append([]string{s.Root, folder}, path...)...))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(script)) {
		if line != "\n" {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	return nil
}

// actionNames are the folders that have an action, in order.
func (s Scripts) actionNames() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.Root, folder, "actions", "*", "action.lua"))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = filepath.Base(filepath.Dir(file))
	}
	slices.Sort(names)
	return names, nil
}
