// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestAMalformedQuantityIsNamedByItsField(t *testing.T) {
	const manifest = `{"apiVersion":"sluice.dev/v1alpha1","kind":"Rollout","spec":{"template":{"spec":{
		"containers":[{"name":"a","resources":{"limits":{"memory":"lots"},"requests":{"cpu":0.5}}}],
		"volumes":[{"name":"v","emptyDir":{"sizeLimit":"big"}}]}}}}`
	decoder := Codecs.UniversalDeserializer()
	info, _ := runtime.SerializerInfoForMediaType(namingQuantities(Codecs).SupportedMediaTypes(), runtime.ContentTypeJSON)
	_, _, err := info.StrictSerializer.Decode([]byte(manifest), nil, &v1alpha1.Rollout{})
	if err == nil {
		t.Fatal("a malformed quantity was decoded")
	}
	for _, field := range []string{"spec.template.spec.containers[0].resources.limits.memory", "spec.template.spec.volumes[0].emptyDir.sizeLimit"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
	if _, _, err := decoder.Decode([]byte(strings.NewReplacer("lots", "1Gi", "big", "1Mi").Replace(manifest)), nil, nil); err != nil {
		t.Errorf("well-formed quantities were refused: %v", err)
	}
}
