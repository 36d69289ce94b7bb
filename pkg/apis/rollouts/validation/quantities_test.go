// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"strings"
	"testing"
)

func TestMalformedQuantities(t *testing.T) {
	tests := []struct {
		body, data string
		fields     []string
	}{
		{"a good manifest", `{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}}}`, nil},
		{"a number is a quantity", `{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":0.5}}}]}}}}`, nil},
		{"YAML", "spec: {template: {spec: {containers: [{name: a}, {resources: {requests: {cpu: 5zz}}}]}}}",
			[]string{"spec.template.spec.containers[1].resources.requests.cpu"}},
		{"a volume", `{"spec":{"template":{"spec":{"volumes":[{"emptyDir":{"sizeLimit":"big"}}]}}}}`,
			[]string{"spec.template.spec.volumes[0].emptyDir.sizeLimit"}},
		{"a merge patch that removes a limit", `{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":null}}}]}}}}`, nil},
		{"a JSON patch of the value", `[{"op":"replace","path":"/spec/template/spec/containers/0/resources/limits/memory","value":"lots"}]`,
			[]string{"spec.template.spec.containers.0.resources.limits.memory"}},
		{"a JSON patch around the value", `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"resources":{"limits":{"cpu":"x"}}}}]`,
			[]string{"spec.template.spec.containers.-.resources.limits.cpu"}},
		{"a JSON patch of something else", `[{"op":"replace","path":"/spec/replicas","value":"x"}]`, nil},
		{"no document at all", `{`, nil},
	}
	for _, test := range tests {
		t.Run(test.body, func(t *testing.T) {
			var fields []string
			for _, err := range MalformedQuantities([]byte(test.data)) {
				fields = append(fields, err.Field)
			}
			if strings.Join(fields, " ") != strings.Join(test.fields, " ") {
				t.Errorf("found %v, want %v", fields, test.fields)
			}
		})
	}
}
