// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.19 (O5), 4.2 (row 1) and 4.3 (InvalidSpec), 7.11 (phases that flap break whoever waits).

// serviceGrace is how long a Service may be missing before the Rollout is called Degraded for it: whoever makes both
// may well make the Service second.
const serviceGrace = 20 * time.Second

// serviceProblem is why a Service that a Rollout names cannot be led to a revision.
type serviceProblem struct {
	code    rollouts.BlockerCode
	message string
}

// serviceProblems are those of all Services that the Rollout names.
func (d *decider) serviceProblems() []serviceProblem {
	var all []serviceProblem
	for _, named := range servicesByField(d.rollout) {
		i := slices.IndexFunc(d.observed.Services, func(s *corev1.Service) bool { return s.Name == named.name && s.DeletionTimestamp == nil })
		is := fmt.Sprintf("%s names Service %q, ", named.field, named.name)
		if i < 0 {
			all = append(all, serviceProblem{rollouts.BlockerServiceMissing,
				is + "which does not exist in namespace " + d.rollout.Namespace + ": create it, or name another"})
			continue
		}
		s := d.observed.Services[i]
		label := foreignLabel(d.rollout, s)
		switch {
		case managedByAnother(d.rollout, s):
			all = append(all, serviceProblem{rollouts.BlockerServiceTaken, fmt.Sprintf(
				"%swhich Rollout %q manages: name another. If that Rollout is gone, or does not name it any more, give the Service back: kubectl annotate service %s %s- -n %s",
				is, s.Annotations[rollouts.ManagedByRolloutAnnotation], s.Name, rollouts.ManagedByRolloutAnnotation, d.rollout.Namespace)})
		case len(s.Spec.Selector) == 0:
			all = append(all, serviceProblem{rollouts.BlockerServiceMismatch,
				is + "which has no selector: where it leads is for others to say, and it is left alone"})
		case label != "":
			all = append(all, serviceProblem{rollouts.BlockerServiceMismatch, fmt.Sprintf(
				"%swhose selector asks for the label %s, which spec.template does not have: it would lead to no pod, and is left alone", is, label)})
		}
	}
	return all
}

// namedService is a Service with the path of the field that names it.
type namedService struct{ field, name string }

// servicesByField are the Services that a Rollout names.
func servicesByField(r *rollouts.Rollout) []namedService {
	var named []namedService
	if canary := r.Spec.Strategy.Canary; canary != nil {
		named = append(named, namedService{"canary.stableService", canary.StableService}, namedService{"canary.canaryService", canary.CanaryService})
	}
	if blueGreen := r.Spec.Strategy.BlueGreen; blueGreen != nil {
		named = append(named, namedService{"blueGreen.activeService", blueGreen.ActiveService}, namedService{"blueGreen.previewService", blueGreen.PreviewService})
	}
	named = slices.DeleteFunc(named, func(s namedService) bool { return s.name == "" })
	for i := range named {
		named[i].field = "spec.strategy." + named[i].field
	}
	return named
}

// judgeServices sets the condition InvalidSpec by the Services that the Rollout names: Unknown at first, and True when
// it has lasted. A canary goes on moving pods meanwhile.
func (d *decider) judgeServices() {
	st := &d.rollout.Status
	problems := d.serviceProblems()
	if len(problems) == 0 {
		removeCondition(st, rollouts.RolloutInvalidSpec)
		return
	}
	reason, status := string(problems[0].code), corev1.ConditionUnknown
	was := findCondition(d.stored, rollouts.RolloutInvalidSpec)
	switch {
	case was == nil:
		d.requeueIn(serviceGrace)
	case was.Status == corev1.ConditionTrue || !d.now.Before(was.LastUpdateTime.Add(serviceGrace)):
		status = corev1.ConditionTrue
	default:
		d.requeueIn(was.LastUpdateTime.Add(serviceGrace).Sub(d.now))
	}
	if status == corev1.ConditionTrue && was.Status != status {
		d.event(true, eventInvalid, "%s", problems[0].message)
	}
	setCondition(st, rollouts.RolloutInvalidSpec, status, reason, problems[0].message, d.now)
}

// invalidPhase is the phase of a Rollout that names what it cannot use; false if there is no such thing.
func invalidPhase(r *rollouts.Rollout) (rollouts.RolloutPhase, string, bool) {
	c := findCondition(&r.Status, rollouts.RolloutInvalidSpec)
	switch {
	case c == nil:
		return "", "", false
	case c.Status == corev1.ConditionTrue:
		return rollouts.RolloutPhaseDegraded, string(c.Type) + ": " + c.Message, true
	default:
		return rollouts.RolloutPhaseProgressing, "waiting: " + c.Message, true
	}
}

// services is about those that cannot be led to a revision.
func (e *explainer) services() {
	var since time.Time
	if c := findCondition(&e.rollout.Status, rollouts.RolloutInvalidSpec); c != nil {
		since = c.LastTransitionTime.Time
	}
	for _, p := range e.serviceProblems() {
		e.add(p.code, since, fmt.Sprintf("kubectl edit rollouts.sluice.dev %s -n %s", e.rollout.Name, e.rollout.Namespace), "%s", p.message)
	}
}
