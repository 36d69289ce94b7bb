// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Decide turns what is observed into what is to be written. It is deterministic; on the world that its
// decision produced it decides nothing more, unless a step was taken and the next one is due.
func Decide(s Snapshot) Decision {
	if s.Rollout.DeletionTimestamp != nil {
		return farewell(s)
	}
	s = Effective(s)
	d := newDecider(s)
	switch {
	case d.newerThanStore() != nil:
		d.hold()
	case len(d.workloadProblems()) > 0:
		d.awaitWorkload()
	case d.workloadMoved():
		d.follow()
	case len(d.orphans) > 0:
		d.adopt()
	default:
		d.findCurrent()
		d.beginRestart()
		d.observeServices()
		d.count()
		d.takeStep()
		d.complete()
		d.judgeDeadline()
		d.release()
		d.movePods()
		d.leadServices()
		d.evict()
		d.cleanUp()
		d.describe()
		d.scaleWorkload()
	}
	return d.decision()
}

// decider is one decision in the making.
type decider struct {
	now time.Time
	// observed is what is decided on.
	observed Snapshot
	// stored is the status as it was stored; it is not modified.
	stored *rollouts.RolloutStatus
	// rollout has the status to be; its spec is shared with the snapshot.
	rollout *rollouts.Rollout

	// current runs spec.template; nil if there is none yet.
	current *appsv1.ReplicaSet
	// stable runs the revision that an abort goes back to; nil if that is current, or gone.
	stable *appsv1.ReplicaSet
	// older are the others that the Rollout controls, newest revision first.
	older []*appsv1.ReplicaSet
	// leaving are those being deleted: not to be touched, but their pods still take room.
	leaving []*appsv1.ReplicaSet
	// orphans have no controller and are to be adopted.
	orphans []*appsv1.ReplicaSet

	// restart is what the restart in progress has still to do; nil if there is none.
	restart *restart

	advanced         bool // a step was taken
	completed        bool // the current revision became stable
	progressed       bool // pods came nearer to what is wanted
	timedOut         bool // they have not for too long
	decisive         bool // the status decides something, and must be written before it is acted on
	fenced           bool // nothing may be written unless the Rollout is still what was decided on
	releasing        bool // a Service is being given back
	currentReleasing bool // one that leads to the current revision is

	out Decision
}

// decision is what has been decided. A status that says nothing new is left out.
func (d *decider) decision() Decision {
	d.out.Status = d.statusToWrite()
	if d.fenced {
		d.out.Status = &d.rollout.Status
	}
	d.out.StatusFirst = d.out.Status != nil && (d.decisive || d.advanced || d.completed || d.fenced)
	return d.out
}

// requeueIn asks to be called again after a time, or sooner.
func (d *decider) requeueIn(after time.Duration) {
	if after = max(after, time.Millisecond); d.out.RequeueAfter == 0 || after < d.out.RequeueAfter {
		d.out.RequeueAfter = after
	}
}

// The reasons of events.
const (
	eventCreated          = "NewReplicaSetCreated"
	eventAdopted          = "ReplicaSetAdopted"
	eventScaled           = "ScalingReplicaSet"
	eventPaused           = "RolloutPaused"
	eventAborted          = "RolloutAborted"
	eventCompleted        = "RolloutCompleted"
	eventDeadlineExceeded = "ProgressDeadlineExceeded"
	eventHeld             = "RolloutHeld"
	eventSwitched         = "SwitchService"
	eventInvalid          = "InvalidSpec"
)

// event records something for people. There is none for each single step or change of size: an update
// without pauses makes two.
func (d *decider) event(warning bool, reason, format string, args ...any) {
	d.out.Events = append(d.out.Events, Event{Warning: warning, Reason: reason, Message: fmt.Sprintf(format, args...)})
}
