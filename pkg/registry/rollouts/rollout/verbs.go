// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// verb is all that distinguishes one verb from another.
type verb struct {
	// name is that of the subresource.
	name string
	// newBody returns an empty body.
	newBody func() rollouts.VerbBody
	// absolute verbs mean the same whatever state they find, so a change at the same time is no conflict, and
	// no policy on Rollouts can stand in their way.
	absolute bool
	// needsReplicaSets is true if the transition looks at earlier revisions.
	needsReplicaSets bool
	// act is the transition of the engine that the verb performs.
	act func(t transition) (*engine.Transition, error)
}

// transition is what a verb acts on.
type transition struct {
	rollout     *rollouts.Rollout
	replicaSets []*appsv1.ReplicaSet
	body        rollouts.VerbBody
	actor       engine.Actor
	now         time.Time
}

var verbs = []verb{
	{
		name:    "promote",
		newBody: func() rollouts.VerbBody { return &rollouts.Promotion{} },
		act: func(t transition) (*engine.Transition, error) {
			body := t.body.(*rollouts.Promotion)
			return engine.Promote(t.rollout, engine.PromoteOptions{Full: body.Full, Override: body.Override}, t.actor, t.now)
		},
	},
	{
		name:    "abort",
		newBody: func() rollouts.VerbBody { return &rollouts.Abort{} },
		// Whoever aborts wants the stable revision back, at whatever step the update is by now.
		absolute: true,
		act:      func(t transition) (*engine.Transition, error) { return engine.Abort(t.rollout, t.now) },
	},
	{
		name:    "retry",
		newBody: func() rollouts.VerbBody { return &rollouts.Retry{} },
		act:     func(t transition) (*engine.Transition, error) { return engine.Retry(t.rollout, t.now) },
	},
	{
		name:    "pause",
		newBody: func() rollouts.VerbBody { return &rollouts.Pause{} },
		act:     func(t transition) (*engine.Transition, error) { return engine.Pause(t.rollout, t.now) },
	},
	{
		name:    "resume",
		newBody: func() rollouts.VerbBody { return &rollouts.Resume{} },
		act:     func(t transition) (*engine.Transition, error) { return engine.Resume(t.rollout, t.now) },
	},
	{
		name:    "restart",
		newBody: func() rollouts.VerbBody { return &rollouts.Restart{} },
		act: func(t transition) (*engine.Transition, error) {
			return engine.Restart(t.rollout, t.body.(*rollouts.Restart).At, t.now)
		},
	},
	{
		name:             "undo",
		newBody:          func() rollouts.VerbBody { return &rollouts.Undo{} },
		needsReplicaSets: true,
		act: func(t transition) (*engine.Transition, error) {
			return engine.Undo(t.rollout, t.replicaSets, t.body.(*rollouts.Undo).ToRevision, t.actor, t.now)
		},
	},
}

func newVerbs(store *genericregistry.Store, config *Config) (map[string]rest.Storage, error) {
	registerMetrics()
	owners, err := newFieldOwners(config.Scheme, config.Types, store.UpdateStrategy.(strategy).GetResetFields())
	if err != nil {
		return nil, err
	}
	storages := make(map[string]rest.Storage, len(verbs))
	for _, verb := range verbs {
		storages[verb.name] = &VerbREST{verb: verb, store: store, config: config, owners: owners}
	}
	return storages, nil
}
