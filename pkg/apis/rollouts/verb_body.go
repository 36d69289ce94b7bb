// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// VerbBody is the body of a verb: the parts that all of them have.
type VerbBody interface {
	runtime.Object
	metav1.Object
	// Request is what every verb takes besides its own options.
	Request() *VerbRequest
	// VerbStatus is the state of the Rollout in the body, to be filled in.
	VerbStatus() *VerbStatus
}

var (
	_ VerbBody = &Promotion{}
	_ VerbBody = &Abort{}
	_ VerbBody = &Retry{}
	_ VerbBody = &Pause{}
	_ VerbBody = &Resume{}
	_ VerbBody = &Restart{}
	_ VerbBody = &Undo{}
)

// Request returns what every verb takes.
func (r *VerbRequest) Request() *VerbRequest { return r }

// VerbStatus returns the status of the body.
func (p *Promotion) VerbStatus() *VerbStatus { return &p.Status }

// VerbStatus returns the status of the body.
func (a *Abort) VerbStatus() *VerbStatus { return &a.Status }

// VerbStatus returns the status of the body.
func (r *Retry) VerbStatus() *VerbStatus { return &r.Status }

// VerbStatus returns the status of the body.
func (p *Pause) VerbStatus() *VerbStatus { return &p.Status }

// VerbStatus returns the status of the body.
func (r *Resume) VerbStatus() *VerbStatus { return &r.Status }

// VerbStatus returns the status of the body.
func (r *Restart) VerbStatus() *VerbStatus { return &r.Status }

// VerbStatus returns the status of the body.
func (u *Undo) VerbStatus() *VerbStatus { return &u.Status }
