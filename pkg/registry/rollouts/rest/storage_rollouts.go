// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rest lists what the API group serves: each resource and subresource with its storage. It may
// import the storages and the libraries of the API server.
package rest

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/registry/rollouts/rollout"
	"sluice.dev/sluice/pkg/registry/rollouts/rollouttree"
)

// StorageProvider makes the storages of the group from what they depend on.
type StorageProvider struct {
	// Rollout is what the storage of Rollouts depends on.
	Rollout rollout.Config
	// Trees is what rollouttrees are made of; they answer 503 if it is nil.
	Trees rollouttree.Source
	// Codecs encode and decode every served version.
	Codecs serializer.CodecFactory
	// Negotiated makes of the serializers of the group, which write lists item by item, those that clients talk to; nil
	// for the same.
	Negotiated func(runtime.NegotiatedSerializer) runtime.NegotiatedSerializer
	// ParameterCodec decodes the options in query parameters.
	ParameterCodec runtime.ParameterCodec
}

// New returns the group, ready to be installed, and the storage of Rollouts in it.
func (p StorageProvider) New() (*genericapiserver.APIGroupInfo, *rollout.Storage, error) {
	storage, err := rollout.NewStorage(p.Rollout)
	if err != nil {
		return nil, nil, err
	}
	served := map[string]rest.Storage{
		"rollouts":         storage.Rollout,
		"rollouts/status":  storage.Status,
		"rollouts/scale":   storage.Scale,
		"rollouts/plan":    storage.Plan,
		"rollouts/explain": storage.Explain,
		"rollouttrees":     rollouttree.NewREST(p.Trees, clock.RealClock{}),
	}
	for name, verb := range storage.Verbs {
		served["rollouts/"+name] = verb
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(rollouts.GroupName, p.Rollout.Scheme, p.ParameterCodec, p.Codecs)
	if p.Negotiated != nil {
		group.NegotiatedSerializer = p.Negotiated(group.NegotiatedSerializer)
	}
	group.VersionedResourcesStorageMap[v1alpha1.SchemeGroupVersion.Version] = served
	return &group, storage, nil
}
