// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sluice.dev/sluice/pkg/apis/rollouts/validation"
)

// quantityNamer makes the error for a malformed quantity say where it is. The decoder of Kubernetes stops at
// such a value without telling its place, and it is the one mistake in a template that never gets as far as
// validation.
type quantityNamer struct {
	runtime.NegotiatedSerializer
}

// namingQuantities are the serializers with decoders that name the field of a malformed quantity; they encode as before.
func namingQuantities(serializers runtime.NegotiatedSerializer) runtime.NegotiatedSerializer {
	return quantityNamer{serializers}
}

// SupportedMediaTypes returns those of the serializer, with decoders that name the field.
func (n quantityNamer) SupportedMediaTypes() []runtime.SerializerInfo {
	infos := n.NegotiatedSerializer.SupportedMediaTypes()
	named := make([]runtime.SerializerInfo, len(infos))
	for i, info := range infos {
		if info.EncodesAsText {
			info.Serializer = namingSerializer{info.Serializer}
			if info.StrictSerializer != nil {
				info.StrictSerializer = namingSerializer{info.StrictSerializer}
			}
		}
		named[i] = info
	}
	return named
}

type namingSerializer struct {
	runtime.Serializer
}

// Decode decodes; if that fails on a quantity, the error names its field.
func (s namingSerializer) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, gvk, err := s.Serializer.Decode(data, defaults, into)
	if err == nil || runtime.IsStrictDecodingError(err) {
		return obj, gvk, err
	}
	if bad := validation.MalformedQuantities(data); len(bad) > 0 {
		err = bad.ToAggregate()
	}
	return obj, gvk, err
}
