// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// verb is all that distinguishes one verb from another.
type verb struct {
	// name is that of the subresource.
	name string
	// newBody returns an empty body.
	newBody func() rollouts.VerbBody
	// absolute verbs mean the same whatever state they find, so a change at the same time is no conflict.
	absolute bool
	// act is the transition of the engine that the verb performs.
	act func(rollout *rollouts.Rollout, body rollouts.VerbBody, now time.Time) (*rollouts.Rollout, error)
}

var verbs = []verb{
	{
		name:    "promote",
		newBody: func() rollouts.VerbBody { return &rollouts.Promotion{} },
		act: func(rollout *rollouts.Rollout, body rollouts.VerbBody, now time.Time) (*rollouts.Rollout, error) {
			return engine.Promote(rollout, body.(*rollouts.Promotion).Full, now)
		},
	},
	{
		name:    "abort",
		newBody: func() rollouts.VerbBody { return &rollouts.Abort{} },
		// Whoever aborts wants the stable revision back, at whatever step the update is by now.
		absolute: true,
		act: func(rollout *rollouts.Rollout, _ rollouts.VerbBody, now time.Time) (*rollouts.Rollout, error) {
			return engine.Abort(rollout, now)
		},
	},
	{
		name:    "retry",
		newBody: func() rollouts.VerbBody { return &rollouts.Retry{} },
		act: func(rollout *rollouts.Rollout, _ rollouts.VerbBody, now time.Time) (*rollouts.Rollout, error) {
			return engine.Retry(rollout, now)
		},
	},
}

func newVerbs(store *genericregistry.Store, clock clock.PassiveClock) map[string]rest.Storage {
	storages := make(map[string]rest.Storage, len(verbs))
	for _, verb := range verbs {
		storages[verb.name] = &VerbREST{verb: verb, store: store, clock: clock}
	}
	return storages
}
