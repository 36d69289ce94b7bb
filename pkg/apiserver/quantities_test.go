// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"

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

// counter counts the writes to it.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c++
	return len(p), nil
}

// A list that is written at once is in memory twice, and nobody gets anything of it until all of it is encoded.
func TestListsAreWrittenItemByItem(t *testing.T) {
	list := &v1alpha1.RolloutList{Items: make([]v1alpha1.Rollout, 50)}
	group := genericapiserver.NewDefaultAPIGroupInfo(v1alpha1.GroupName, Scheme, metav1.ParameterCodec, Codecs)
	serializers := namingQuantities(group.NegotiatedSerializer)
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		info, _ := runtime.SerializerInfoForMediaType(serializers.SupportedMediaTypes(), mediaType)
		var writes counter
		if err := serializers.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion).Encode(list, &writes); err != nil {
			t.Fatal(err)
		}
		if int(writes) < len(list.Items) {
			t.Errorf("%s: a list of %d was written in %d pieces", mediaType, len(list.Items), writes)
		}
	}
}
