// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: reference sections 1.1 (B2 to B4), 1.14 (W1) and 7.15; the API design ("Approvals": the author is unknown).

const eventWorkloadChanged = "WorkloadChanged"

// Effective is a Snapshot whose Rollout has the template of the Deployment that it refers to, and its selector if it
// has none of its own. Without a reference, or without that Deployment, it is s. Nothing of it is ever stored.
func Effective(s Snapshot) Snapshot {
	if s.Rollout.Spec.WorkloadRef == nil || s.Workload == nil {
		return s
	}
	r := *s.Rollout
	r.Spec.Template = *s.Workload.Spec.Template.DeepCopy()
	if r.Spec.Selector == nil {
		r.Spec.Selector = s.Workload.Spec.Selector.DeepCopy()
	}
	s.Rollout = &r
	return s
}

// Inlined is a Snapshot whose Rollout has a template of its own: that of the Deployment, with the revision that the
// next decision starts for it. So it can be looked ahead from there. The error is a *Refusal if the Deployment cannot
// be used.
func Inlined(s Snapshot) (Snapshot, error) {
	if s.Rollout.Spec.WorkloadRef == nil {
		return s, nil
	}
	d := newDecider(Effective(s))
	if problems := d.workloadProblems(); len(problems) > 0 {
		return s, refuse(ReasonWorkloadMissing, "%s", problems[0].message)
	}
	if d.newerThanStore() == nil && d.workloadMoved() {
		d.follow()
	}
	r := *d.rollout
	r.Spec.WorkloadRef = nil
	s.Rollout, s.Workload = &r, nil
	return s, nil
}

// Referring is a new Rollout that takes its template from a Deployment, with its first status: the controller finds
// out which revision that is.
func Referring(r *rollouts.Rollout) *rollouts.Rollout {
	out := r.DeepCopy()
	out.Status = rollouts.RolloutStatus{Phase: rollouts.RolloutPhaseProgressing, Message: messageNotObserved, CurrentStepHash: stepHash(steps(r))}
	out.Status.CurrentStepIndex = firstStep(out)
	setStanding(&out.Status, out.CreationTimestamp.Time)
	return out
}

// workloadProblems is why the template cannot be taken from the Deployment that is referred to.
func (d *decider) workloadProblems() []serviceProblem {
	r, w := d.rollout, d.observed.Workload
	ref := r.Spec.WorkloadRef
	if ref == nil {
		return nil
	}
	is := fmt.Sprintf("spec.workloadRef names Deployment %q, ", ref.Name)
	if w == nil {
		return []serviceProblem{{rollouts.BlockerWorkloadMissing,
			is + "which does not exist in namespace " + r.Namespace + ": nothing is moved until it does. Create it, or name another"}}
	}
	selector, err := metav1.LabelSelectorAsSelector(r.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(w.Spec.Template.Labels)) {
		return []serviceProblem{{rollouts.BlockerWorkloadMismatch,
			is + "whose template does not have the labels that spec.selector asks for: nothing is moved until it does"}}
	}
	return nil
}

// awaitWorkload leaves everything as it is, and says why.
func (d *decider) awaitWorkload() {
	r := d.rollout
	removeCondition(&r.Status, rollouts.RolloutHeld)
	d.judge(d.workloadProblems())
	r.Status.ObservedGeneration = r.Generation
	d.describeWorkload()
	d.count()
	setPhase(r)
	setStanding(&r.Status, d.now)
}

// workloadMoved is true if the template of the Deployment is not that of the current revision. Its ReplicaSet tells, by
// the meaning of what it runs, or by what it was made of, in case that was changed on the way: a cluster that puts
// something into every ReplicaSet would get a new one without end. Only while there is none the hash has to tell. So a
// change of anything else in the Deployment, or in how hashes are made, starts nothing.
func (d *decider) workloadMoved() bool {
	r := d.rollout
	if r.Spec.WorkloadRef == nil {
		return false
	}
	if rs := d.currentOrLeaving(); rs != nil {
		return rs.Annotations[rollouts.WorkloadTemplateAnnotation] != templateDigest(&r.Spec.Template) && !TemplatesEqual(&r.Spec.Template, TemplateOf(rs))
	}
	return !d.namedAs(r.Status.CurrentPodHash)
}

// currentOrLeaving is the ReplicaSet of the current revision, though it be about to go; nil if there is none.
func (d *decider) currentOrLeaving() *appsv1.ReplicaSet {
	if d.current != nil {
		return d.current
	}
	all := slices.Concat(d.leaving, d.orphans)
	if i := slices.IndexFunc(all, func(rs *appsv1.ReplicaSet) bool { return hashOf(rs) == d.rollout.Status.CurrentPodHash }); i >= 0 {
		return all[i]
	}
	return nil
}

// namedSalts is how many names of a template are tried beyond those that are known to be taken.
const namedSalts = 16

// namedAs is true if a hash was made for the template.
func (d *decider) namedAs(hash string) bool {
	r := d.rollout
	for salt := range ptr.Deref(r.Status.CollisionCount, 0) + namedSalts {
		if hash != "" && templateHash(&r.Spec.Template, salt) == hash {
			return true
		}
	}
	return false
}

// templateDigest identifies a template as it was written.
func templateDigest(template *corev1.PodTemplateSpec) string {
	h := sha256.New()
	// The type of a template has nothing in it that cannot be encoded, and a hash writer never fails.
	_ = json.NewEncoder(h).Encode(template)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// follow makes the template of the Deployment the current revision, as a write of spec.template would have, and does
// nothing else: what follows from it is decided once it is stored. Who changed the Deployment is not known.
func (d *decider) follow() {
	r := d.rollout
	was := *r
	was.Spec.Template.Spec.Containers = nil // It is not known any more, and no pod is without.
	res := Resolve(&was, &r.Spec.Template, d.observed.ReplicaSets)
	edited := Edited(&was, r, &res, "")
	setStanding(&edited.Status, d.now)
	if !equalRevision(&r.Status, &edited.Status) {
		d.event(false, eventWorkloadChanged, "The template of Deployment %q is revision %d", d.observed.Workload.Name, edited.Status.Revision)
	}
	d.rollout, d.decisive = edited, true
	d.describeWorkload()
}

func equalRevision(a, b *rollouts.RolloutStatus) bool {
	return a.Revision == b.Revision && a.CurrentPodHash == b.CurrentPodHash
}

// describeWorkload records which state of the Deployment the template was taken from.
func (d *decider) describeWorkload() {
	st, w := &d.rollout.Status, d.observed.Workload
	if d.rollout.Spec.WorkloadRef == nil {
		st.WorkloadObservedGeneration, st.WorkloadScaledDown = 0, ""
		removeCondition(st, rollouts.RolloutWorkloadScaledUp)
		return
	}
	if w != nil {
		st.WorkloadObservedGeneration = w.Generation
	}
}

// templateOfWorkload refuses what would change the template.
func templateOfWorkload(r *rollouts.Rollout) *Refusal {
	name := r.Spec.WorkloadRef.Name
	return refuse(ReasonTemplateOfWorkload,
		"the template is that of Deployment %q, and only a change of that leads to another revision: kubectl rollout undo deployment/%s -n %s, or change it where it is kept; abort goes back to the stable revision",
		name, name, r.Namespace)
}

// workload is about the Deployment that the template is taken from.
func (e *explainer) workload() {
	r := e.rollout
	for _, p := range e.workloadProblems() {
		e.add(p.code, e.since(rollouts.RolloutInvalidSpec), fmt.Sprintf("kubectl edit rollouts.sluice.dev %s -n %s", r.Name, r.Namespace), "%s", p.message)
	}
	if e.workloadScaledUp() {
		w := e.observed.Workload
		e.add(rollouts.BlockerWorkloadScaledUp, e.since(rollouts.RolloutWorkloadScaledUp),
			fmt.Sprintf("kubectl scale deployment %s --replicas=0 -n %s", w.Name, w.Namespace), "%s", scaledUpMessage(w))
	}
}

// since is when a condition became what it is; zero if there is none.
func (e *explainer) since(t rollouts.RolloutConditionType) time.Time {
	if c := findCondition(&e.rollout.Status, t); c != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}
