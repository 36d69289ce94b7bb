// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// lateness is how much later than planned a pause may be seen to end on a machine that has much to do.
const lateness = 20 * time.Second

// taken is a step that a Rollout has taken.
type taken struct {
	index  *int32
	action v1alpha1.PlannedAction
	// weight is the share that was wanted during it; stable and canary are the pods at its end.
	weight, stable, canary int32
	// promotes is how many promotes it took.
	promotes int
	// paused is when the pause began, and ended when the Rollout went on.
	paused, ended time.Time
}

// follower follows a Rollout to its end, as its watch shows it, and promotes where that is needed.
type follower struct {
	watch watch.Interface
	last  *v1alpha1.Rollout
	// asked is when the plan was asked for.
	asked time.Time
	// changes is true if what happens begins with a change of the spec.
	changes bool
	steps   []taken
	crowd   *crowd
	// parts are the resourceVersions of the host at which somebody promoted, with the number of steps until then:
	// between two of them lies what is known of how many pods there were at most.
	parts []part
}

type part struct {
	version uint64
	steps   int
}

// follow begins to follow, from a state that is known, before that changes.
func (s *scenario) follow(r *v1alpha1.Rollout, asked time.Time, changes bool) *follower {
	s.Helper()
	w, err := s.rollouts().Watch(s.ctx(), metav1.ListOptions{FieldSelector: "metadata.name=" + r.Name, ResourceVersion: r.ResourceVersion})
	s.must(err)
	s.Cleanup(w.Stop)
	return &follower{watch: w, last: r, asked: asked, changes: changes, crowd: s.count(r)}
}

// toTheEnd returns when the Rollout is Healthy.
func (f *follower) toTheEnd(s *scenario) {
	s.Helper()
	before := f.last.Generation
	var now taken
	begun := !f.changes && standing(f.last)
	if begun {
		now = at(f.last)
		if waitsForPeople(f.last) {
			f.promote(s, &now)
		}
	}
	for ended := s.ctx(); ; {
		select {
		case <-ended.Done():
			s.Fatalf("it does not come to its end; last seen: %+v, taken: %+v", f.last.Status, f.steps)
		case event := <-f.watch.ResultChan():
			r, ok := event.Object.(*v1alpha1.Rollout)
			if !ok {
				s.Fatalf("the watch answered %+v", event)
			}
			f.last = r
		}
		if f.changes && f.last.Generation == before {
			continue
		}
		next := at(f.last)
		if begun && now.action != v1alpha1.PlannedDeploy && !standing(f.last) && f.last.Spec.Strategy.BlueGreen == nil {
			next.action = v1alpha1.PlannedComplete
		}
		if begun && (!ptr.Equal(now.index, next.index) || now.action != next.action) {
			f.close(now)
			begun = false
		}
		if !begun {
			now, begun = next, true
		}
		if standing(f.last) {
			now.weight = next.weight // In the end it is that of the stable revision.
		}
		if now.paused.IsZero() {
			now.paused = next.paused
		}
		if over(f.last) {
			f.close(now)
			return
		}
		if waitsForPeople(f.last) && now.promotes == 0 {
			f.promote(s, &now)
		}
	}
}

// close ends a step: what the status counts as the Rollout goes on are the pods at its end.
func (f *follower) close(step taken) {
	st := &f.last.Status
	step.canary, step.stable = st.UpdatedReplicas, st.Replicas-st.UpdatedReplicas
	step.ended = time.Now()
	f.steps = append(f.steps, step)
}

// promote promotes as often as the step asks for, in the name of another user each time.
func (f *follower) promote(s *scenario, step *taken) {
	s.Helper()
	f.parts = append(f.parts, part{s.hostVersion(), len(f.steps) + 1})
	needed := int32(1)
	if canary := f.last.Spec.Strategy.Canary; canary != nil && canary.Steps[*step.index].Pause.Approval != nil {
		needed = *canary.Steps[*step.index].Pause.Approval.Required
	}
	for i := range needed {
		person, err := s.As(fmt.Sprintf("person-%d", i), "system:masters", "release-managers")
		s.must(err)
		_, err = person.Sluice.SluiceV1alpha1().Rollouts(s.namespace).Promote(s.ctx(), f.last.Name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
		s.must(err)
		step.promotes++
	}
}

// standing is true for a Rollout that is at one of its steps.
func standing(r *v1alpha1.Rollout) bool {
	return r.Status.StableRS != r.Status.CurrentPodHash
}

// at is the step that a Rollout is at.
func at(r *v1alpha1.Rollout) taken {
	if r.Spec.Strategy.BlueGreen != nil {
		return atOfBlueGreen(&r.Status, standing(r))
	}
	st, steps := &r.Status, r.Spec.Strategy.Canary.Steps
	now := taken{action: v1alpha1.PlannedDeploy}
	if st.Canary != nil && st.Canary.Weights != nil {
		now.weight = st.Canary.Weights.Canary.Weight
	}
	index := ptr.Deref(st.CurrentStepIndex, 0)
	switch {
	case !standing(r) || len(steps) == 0:
	case int(index) == len(steps):
		now.action = v1alpha1.PlannedComplete
	default:
		now.index, now.action = &index, v1alpha1.PlannedSetWeight
		if steps[index].Pause != nil {
			now.action = v1alpha1.PlannedPause
		}
		if len(st.PauseConditions) > 0 {
			now.paused = st.PauseConditions[0].StartTime.Time
		}
	}
	return now
}

// atOfBlueGreen is what a blueGreen Rollout is at: its new pods come up, it waits, clients are led to them, and the old
// pods go.
func atOfBlueGreen(st *v1alpha1.RolloutStatus, standing bool) taken {
	now := taken{action: v1alpha1.PlannedDeploy}
	switch {
	case !standing:
	case st.PromoteFull || st.BlueGreen != nil && st.BlueGreen.ScaleUpPreviewCheckPoint:
		now.action = v1alpha1.PlannedComplete
	case len(st.PauseConditions) > 0:
		now.action, now.paused = v1alpha1.PlannedPause, st.PauseConditions[0].StartTime.Time
	}
	return now
}

// over is true for a Rollout that has come to its end; a blueGreen one when the old pods have gone.
func over(r *v1alpha1.Rollout) bool {
	return !standing(r) && r.Status.Phase == v1alpha1.RolloutPhaseHealthy && r.Status.ObservedGeneration == r.Generation &&
		(r.Spec.Strategy.BlueGreen == nil || r.Status.Replicas == *r.Spec.Replicas)
}

// waitsForPeople is true for a Rollout that somebody must promote, all of whose pods are where they belong.
func waitsForPeople(r *v1alpha1.Rollout) bool {
	st := &r.Status
	if !standing(r) || len(st.PauseConditions) == 0 || st.ObservedGeneration != r.Generation || r.Spec.Paused {
		return false
	}
	if b := r.Spec.Strategy.BlueGreen; b != nil {
		return !ptr.Deref(b.AutoPromotionEnabled, true)
	}
	pause := r.Spec.Strategy.Canary.Steps[*st.CurrentStepIndex].Pause
	return pause.Duration == nil && st.AvailableReplicas == st.Replicas && st.Replicas >= *r.Spec.Replicas
}

// compare holds what happened against the plan.
func (f *follower) compare(s *scenario, plan *v1alpha1.RolloutPlanStatus, determined bool) {
	s.Helper()
	if len(f.steps) != len(plan.Steps) {
		s.Fatalf("planned\n%+v\nhappened\n%+v", plan.Steps, f.steps)
	}
	var waits time.Duration
	for i := range f.steps {
		if i > 1 && f.steps[i].action == v1alpha1.PlannedDeploy {
			f.steps[i].paused = f.steps[i-2].ended // Old pods are kept from the switch on, which is in the step before.
		}
		waits += f.steps[i].compare(s, &plan.Steps[i], f.asked)
	}
	if plan.Waits == nil || plan.Waits.Duration != waits {
		s.Errorf("planned are waits of %v, not %v", plan.Waits, waits)
	}
	if f.last.Status.Phase != plan.Phase || f.last.Status.Revision != plan.Revision {
		s.Errorf("planned is an end as %s at revision %d, it is %s at %d", plan.Phase, plan.Revision, f.last.Status.Phase, f.last.Status.Revision)
	}
	f.comparePeaks(s, plan, determined)
}

// compare returns how long the step was planned to be waited in.
func (h *taken) compare(s *scenario, p *v1alpha1.PlannedStep, asked time.Time) (wait time.Duration) {
	s.Helper()
	what := fmt.Sprintf("%s of step %d", p.Action, ptr.Deref(p.Index, -1))
	if h.action != p.Action || !ptr.Equal(h.index, p.Index) {
		s.Errorf("planned is %s, it was %s of step %d", what, h.action, ptr.Deref(h.index, -1))
	}
	if h.stable != p.StableReplicas || h.canary != p.CanaryReplicas {
		s.Errorf("%s: planned are %d+%d pods, there were %d+%d", what, p.StableReplicas, p.CanaryReplicas, h.stable, h.canary)
	}
	// What is over when it has begun has no weight of its own in the status any more.
	if weightless := p.Action == v1alpha1.PlannedDeploy || p.Action == v1alpha1.PlannedComplete && h.weight == 0; !weightless && h.weight != p.Weight {
		s.Errorf("%s: planned is a weight of %d, it was %d", what, p.Weight, h.weight)
	}
	if p.UntilPromoted != (h.promotes > 0) || p.Approval != nil && h.promotes != int(*p.Approval.Required) {
		s.Errorf("%s: planned is to wait for people: %t, for the approval %+v; there were %d promotes", what, p.UntilPromoted, p.Approval, h.promotes)
	}
	if p.Duration == nil {
		return 0
	}
	// A pause that has begun before the plan was asked for is waited in for the rest.
	begin := h.paused
	if begin.Before(asked) {
		begin = asked
	}
	if took := h.ended.Sub(begin); took < p.Duration.Duration || took > p.Duration.Duration+lateness {
		s.Errorf("%s: planned is to wait for %s, it took %s", what, p.Duration.Duration, took)
	}
	if p.Action != v1alpha1.PlannedPause {
		return 0
	}
	return p.Duration.Duration
}

// comparePeaks holds the pods that there were between two promotes against the steps in between.
func (f *follower) comparePeaks(s *scenario, plan *v1alpha1.RolloutPlanStatus, determined bool) {
	s.Helper()
	s.awaitPods(f.last, map[string]int{cluster.Tag(&f.last.Spec.Template.Spec): int(*f.last.Spec.Replicas)})
	highest, from, first := int32(0), uint64(0), 0
	for _, p := range append(f.parts, part{s.hostVersion(), len(f.steps)}) {
		planned := int32(0)
		// The pause in which somebody promotes is the last of one part and the first of the next.
		for i := max(first-1, 0); i < p.steps; i++ {
			planned = max(planned, plan.Steps[i].PeakReplicas)
		}
		seen := f.crowd.most(s, from, p.version)
		highest = max(highest, seen)
		if seen > planned || determined && seen != planned {
			s.Errorf("steps %d to %d: planned are at most %d pods, there were %d", first, p.steps-1, planned, seen)
		}
		from, first = p.version, p.steps
	}
	if highest > plan.PeakReplicas || determined && highest != plan.PeakReplicas {
		s.Errorf("planned are at most %d pods, there were %d", plan.PeakReplicas, highest)
	}
	s.Logf("%d steps in %s, %d pods at most of %d planned", len(f.steps), time.Since(f.asked).Round(time.Second), highest, plan.PeakReplicas)
}

// hostVersion is the resourceVersion that the host's pods are at.
func (s *scenario) hostVersion() uint64 {
	s.Helper()
	listed, err := s.Host.CoreV1().Pods(s.namespace).List(s.ctx(), metav1.ListOptions{})
	s.must(err)
	return parsedVersion(s, listed.ResourceVersion)
}

func parsedVersion(s *scenario, version string) uint64 {
	s.Helper()
	parsed, err := strconv.ParseUint(version, 10, 64)
	s.must(err)
	return parsed
}

// crowd counts the pods of a Rollout, by every event of a watch. One that is being deleted does not count.
type crowd struct {
	mu      sync.Mutex
	moments []moment
	ended   error
}

// moment is how many pods there are from a resourceVersion on.
type moment struct {
	version uint64
	pods    int32
}

// count begins to count the pods of a Rollout.
func (s *scenario) count(r *v1alpha1.Rollout) *crowd {
	s.Helper()
	options := metav1.ListOptions{LabelSelector: r.Status.Selector}
	listed, err := s.Host.CoreV1().Pods(s.namespace).List(s.ctx(), options)
	s.must(err)
	there := map[types.UID]bool{}
	for i := range listed.Items {
		if listed.Items[i].DeletionTimestamp == nil {
			there[listed.Items[i].UID] = true
		}
	}
	options.ResourceVersion = listed.ResourceVersion
	options.AllowWatchBookmarks = true
	c := &crowd{moments: []moment{{parsedVersion(s, listed.ResourceVersion), int32(len(there))}}}
	ctx, stop := context.WithCancel(s.Context())
	w, err := s.Host.CoreV1().Pods(s.namespace).Watch(ctx, options)
	s.must(err)
	var done sync.WaitGroup
	done.Go(func() { c.run(w, there) })
	s.Cleanup(func() {
		stop()
		done.Wait()
	})
	return c
}

func (c *crowd) run(w watch.Interface, there map[types.UID]bool) {
	for event := range w.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			c.mu.Lock()
			c.ended = fmt.Errorf("the watch of pods answered %+v", event)
			c.mu.Unlock()
			return
		}
		if event.Type != watch.Bookmark {
			delete(there, pod.UID)
			if event.Type != watch.Deleted && pod.DeletionTimestamp == nil {
				there[pod.UID] = true
			}
		}
		version, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
		c.mu.Lock()
		c.ended = err
		c.moments = append(c.moments, moment{version, int32(len(there))})
		c.mu.Unlock()
	}
}

// most is how many pods there were at one time between two resourceVersions.
func (c *crowd) most(s *scenario, from, to uint64) (pods int32) {
	s.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.must(c.ended)
	for i, m := range c.moments {
		// What there was at the beginning is the last moment before it.
		until := to
		if i+1 < len(c.moments) {
			until = c.moments[i+1].version
		}
		if m.version <= to && until > from {
			pods = max(pods, m.pods)
		}
	}
	return pods
}
