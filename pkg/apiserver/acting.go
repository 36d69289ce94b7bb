// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"sync/atomic"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/controller/rollout"
)

// Acting runs the controller for as long as the gate is open: what a store that may not answer says must
// not be acted upon either. A gate that closes ends the controller, caches included, and one that opens
// again starts a new one.
type Acting struct {
	gate    *ownerguard.Gate
	config  rollout.Config
	current atomic.Pointer[rollout.Controller]
	changes changes
}

// NewActing returns an Acting that does nothing until Run.
func NewActing(gate *ownerguard.Gate, config rollout.Config) *Acting {
	a := &Acting{gate: gate, config: config}
	a.config.Changed = a.changes.tell
	return a
}

// Run returns when ctx is done and the controller has given up its Lease. It fails at once if the controller
// cannot be made or cannot stand for election, as it is configured.
func (a *Acting) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		open, err := a.gate.WaitOpen(ctx)
		if err != nil {
			return nil
		}
		controller, err := rollout.New(a.config)
		if err != nil {
			return err
		}
		a.current.Store(controller)
		err = controller.Run(open)
		a.current.Store(nil)
		if err != nil {
			// It cannot stand for election as it is configured; the next one could not either.
			return err
		}
	}
	return nil
}

// Name is the name of the health check.
func (*Acting) Name() string { return "controller-caches" }

// Check fails until the caches of the controller are warm. It belongs to readiness: a replica with cold
// caches could not take over.
func (a *Acting) Check(*http.Request) error {
	_, err := a.warm()
	return err
}
