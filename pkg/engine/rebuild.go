// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// Sources: architecture, "Storage and what may never happen" (a store that was put back must not move production).

// Remains is what is left of a Rollout that the store has lost.
type Remains struct {
	// Owner is the Rollout as its ReplicaSets name it.
	Owner OwnerOfReplicaSets
	// ReplicaSets are those whose controller it is, in any order.
	ReplicaSets []*appsv1.ReplicaSet
	// Spec returns the spec that is written on a ReplicaSet, defaults included; nil if none is.
	Spec func(*appsv1.ReplicaSet) *rollouts.RolloutSpec
}

// Rebuild makes a Rollout of what is left of it, under its old UID, so that the owner references of its ReplicaSets hold.
// It is paused, and as big as its ReplicaSets were last brought to, so that nothing moves before somebody has looked at
// it. unknown says in sentences what could not be known. An error says why there is too little to go by.
func Rebuild(left Remains, now time.Time) (rebuilt *rollouts.Rollout, unknown []string, err error) {
	sets := slices.DeleteFunc(slices.Clone(left.ReplicaSets), func(rs *appsv1.ReplicaSet) bool { return hashOf(rs) == "" || revisionOf(rs) == 0 })
	if len(sets) == 0 {
		return nil, nil, errors.New("none of its ReplicaSets was made by Sluice: the label " + rollouts.PodTemplateHashLabel + " and the annotation " + rollouts.RevisionAnnotation + " are missing")
	}
	slices.SortFunc(sets, newestFirst)
	b := &rebuilding{newest: sets[0], others: sets[1:]}
	b.rollout = &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{
		Name: left.Owner.Name, Namespace: left.Owner.Namespace, UID: left.Owner.UID, Generation: 1,
		CreationTimestamp: slices.MinFunc(sets, func(a, b *appsv1.ReplicaSet) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) }).CreationTimestamp,
	}}
	b.miss("labels and annotations of the Rollout are not known")
	if err := b.spec(sets, left.Spec); err != nil {
		return nil, nil, err
	}
	b.status(now)
	return b.rollout, b.unknown, nil
}

// rebuilding is a Rollout in the making.
type rebuilding struct {
	rollout *rollouts.Rollout
	// newest is the ReplicaSet of the highest revision, others are the rest, newest first.
	newest  *appsv1.ReplicaSet
	others  []*appsv1.ReplicaSet
	unknown []string
}

func (b *rebuilding) miss(format string, args ...any) {
	b.unknown = append(b.unknown, fmt.Sprintf(format, args...))
}

// spec takes from the newest ReplicaSet what it shows, and the rest from what is written on it.
func (b *rebuilding) spec(sets []*appsv1.ReplicaSet, written func(*appsv1.ReplicaSet) *rollouts.RolloutSpec) error {
	spec := &b.rollout.Spec
	var from *appsv1.ReplicaSet
	for _, rs := range sets {
		if known := written(rs); known != nil {
			*spec, from = *known.DeepCopy(), rs
			break
		}
	}
	switch {
	case from == nil && b.newest.Annotations[rollouts.WorkloadTemplateAnnotation] != "":
		return errors.New("its template came from a Deployment, and none of its ReplicaSets says which")
	case from == nil:
		spec.Strategy = rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{}}
		b.miss("the strategy is not known: it is a canary without steps until a manifest is applied")
	default:
		b.miss("the strategy and the other settings are those of revision %d, when it began", revisionOf(from))
	}
	spec.Paused, spec.RestartAt = true, nil
	spec.MinReadySeconds = b.newest.Spec.MinReadySeconds
	if spec.WorkloadRef == nil {
		spec.Template = *TemplateOf(b.newest)
	}
	spec.Selector = b.newest.Spec.Selector.DeepCopy()
	delete(spec.Selector.MatchLabels, rollouts.PodTemplateHashLabel)
	if takenOver(b.newest) {
		delete(spec.Selector.MatchLabels, rollouts.ArgoPodTemplateHashLabel)
	}
	spec.Replicas = ptr.To(b.size())
	return nil
}

// size is what the ReplicaSets were last brought to their sizes for.
func (b *rebuilding) size() int32 {
	largest := slices.MaxFunc(append([]*appsv1.ReplicaSet{b.newest}, b.others...), func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(ptr.Deref(a.Spec.Replicas, 0), ptr.Deref(b.Spec.Replicas, 0))
	})
	if n, ok := desiredOf(largest); ok {
		return n
	}
	var sum int32
	for _, rs := range append([]*appsv1.ReplicaSet{b.newest}, b.others...) {
		sum += ptr.Deref(rs.Spec.Replicas, 0)
	}
	b.miss("spec.replicas is not known: it is as many as the ReplicaSets have together")
	return sum
}

// desiredOf is what spec.replicas was when a ReplicaSet was last brought to its size.
func desiredOf(rs *appsv1.ReplicaSet) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[rollouts.DesiredReplicasAnnotation], 10, 32)
	return int32(n), err == nil && n >= 0
}

func (b *rebuilding) status(now time.Time) {
	r := b.rollout
	r.Status = rollouts.RolloutStatus{
		Phase:           rollouts.RolloutPhaseProgressing,
		Message:         messageNotObserved,
		CurrentPodHash:  hashOf(b.newest),
		Revision:        revisionOf(b.newest),
		CurrentStepHash: stepHash(steps(r)),
		Selector:        selectorString(r),
	}
	st := &r.Status
	if stable := b.stable(); stable != nil {
		st.StableRS = hashOf(stable)
	}
	st.CurrentStepIndex = firstStep(r)
	if updateInFlight(r) {
		b.inFlight()
	}
	setWeights(r)
	setStanding(st, now)
}

// stable is the ReplicaSet that an abort goes back to; nil if the first revision has never been fully available.
func (b *rebuilding) stable() *appsv1.ReplicaSet {
	if b.newest.Annotations[rollouts.OutcomeAnnotation] == rollouts.OutcomePromoted {
		return b.newest
	}
	var serving []*appsv1.ReplicaSet
	for _, rs := range b.others {
		if ptr.Deref(rs.Spec.Replicas, 0) > 0 && deadlineOf(rs) == "" {
			serving = append(serving, rs)
		}
	}
	if len(serving) > 0 {
		return slices.MaxFunc(serving, func(x, y *appsv1.ReplicaSet) int {
			promoted := func(rs *appsv1.ReplicaSet) int32 {
				if rs.Annotations[rollouts.OutcomeAnnotation] == rollouts.OutcomePromoted {
					return 1
				}
				return 0
			}
			return cmp.Or(cmp.Compare(promoted(x), promoted(y)), cmp.Compare(*x.Spec.Replicas, *y.Spec.Replicas), newestFirst(y, x))
		})
	}
	if len(b.others) == 0 && b.newest.Status.AvailableReplicas < ptr.Deref(b.newest.Spec.Replicas, 0) {
		return nil
	}
	return b.newest // It serves alone.
}

// inFlight is about an update that was under way.
func (b *rebuilding) inFlight() {
	st := &b.rollout.Status
	st.TemplateAuthors = []string{unnamedAuthors}
	if author := b.newest.Annotations[rollouts.AuthorAnnotation]; author != "" {
		st.TemplateAuthors = append(st.TemplateAuthors, author)
	}
	b.miss("an update was under way, and its step, its approvals and its pauses are not known: resumed, it begins at the first step")
	if b.newest.Annotations[rollouts.OutcomeAnnotation] != rollouts.OutcomeAborted {
		return
	}
	if ptr.Deref(b.newest.Spec.Replicas, 0) > 0 {
		b.miss("the update was aborted, and that is not finished: abort it again")
		return
	}
	at := metav1.MicroTime{}
	if parsed, err := time.Parse(time.RFC3339Nano, b.newest.Annotations[rollouts.OutcomeTimeAnnotation]); err == nil {
		at = metav1.NewMicroTime(parsed)
	}
	st.Abort, st.AbortedAt = true, &at
}

// BringUp makes a Rollout of an older copy of the store such that it moves nothing before somebody has looked at it. rss are
// the ReplicaSets in the host. changes says in sentences what is not as the copy has it; without any the Rollout is
// returned as it is. One that Decide holds anyway is left alone.
func BringUp(stored *rollouts.Rollout, rss []*appsv1.ReplicaSet) (r *rollouts.Rollout, changes []string) {
	d := newDecider(Snapshot{Rollout: stored, ReplicaSets: rss})
	if stored.DeletionTimestamp != nil {
		return stored, nil
	}
	if newer := d.newerThanStore(); newer != nil {
		return stored, []string{fmt.Sprintf("held, since ReplicaSet %s is of revision %d, and the copy of the store only knows revision %d: once the server answers, detach it and apply its manifest", newer.Name, revisionOf(newer), stored.Status.Revision)}
	}
	r = stored.DeepCopy()
	pause := func(why string) {
		if !r.Spec.Paused {
			r.Spec.Paused = true
			changes = append(changes, why)
		}
	}
	owned := d.owned()
	if len(owned) == 0 {
		if replicas(r) > 0 && len(d.orphans)+len(d.leaving) == 0 {
			pause("paused, since it has no ReplicaSet in the cluster, as after it was deleted: delete it, or resume it to have pods of it")
		}
	} else if size, known := desiredOf(owned[0]); known && size != replicas(r) {
		changes = append(changes, fmt.Sprintf("spec.replicas is %d, as its ReplicaSets were last brought to, and not %d", size, replicas(r)))
		r.Spec.Replicas = &size
	}
	if updateInFlight(r) {
		pause("paused, since an update was under way and may have come further: look at it and resume it")
	}
	if len(changes) == 0 {
		return stored, nil
	}
	r.Generation++
	return r, changes
}
