// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// start is when every simulated cluster begins. It has nanoseconds, which no stored time can hold.
var start = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)

// TestMain runs the property tests often enough to find what matters in the time of CI. More, for a long
// run: -rapid.checks=20000 -rapid.steps=50.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "500"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// rollout is a Rollout named demo with image v1, maxSurge and maxUnavailable 25 %.
func rollout(n int32, steps ...rollouts.CanaryStep) *rollouts.Rollout {
	labels := map[string]string{"app": "demo"}
	return &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "demo", Namespace: "default"},
		Spec: rollouts.RolloutSpec{
			Replicas: ptr.To(n),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "v1"}}},
			},
			Strategy:                rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: steps}},
			RevisionHistoryLimit:    ptr.To[int32](10),
			ProgressDeadlineSeconds: ptr.To[int32](600),
		},
	}
}

// bounded sets maxSurge and maxUnavailable.
func bounded(r *rollouts.Rollout, surge, unavailable string) *rollouts.Rollout {
	r.Spec.Strategy.Canary.MaxSurge = ptr.To(intstr.Parse(surge))
	r.Spec.Strategy.Canary.MaxUnavailable = ptr.To(intstr.Parse(unavailable))
	return r
}

func weight(w int32) rollouts.CanaryStep { return rollouts.CanaryStep{SetWeight: &w} }

// pause is a pause of a duration, or without an end if that is "".
func pause(duration string) rollouts.CanaryStep {
	p := &rollouts.RolloutPause{}
	if duration != "" {
		p.Duration = ptr.To(intstr.Parse(duration))
	}
	return rollouts.CanaryStep{Pause: p}
}

// approval is a pause that asks for the approval of so many, in any of the groups.
func approval(required int32, groups ...string) rollouts.CanaryStep {
	return rollouts.CanaryStep{Pause: &rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: &required, Groups: groups, NotAuthor: ptr.To(true)}}}
}

func image(name string) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) {
		spec.Template = *spec.Template.DeepCopy()
		spec.Template.Spec.Containers[0].Image = name
	}
}

func scale(n int32) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) { spec.Replicas = &n }
}

func paused(is bool) func(*rollouts.RolloutSpec) {
	return func(spec *rollouts.RolloutSpec) { spec.Paused = is }
}

// world is a simulated cluster under test. Its trace is printed if the test fails.
type world struct {
	*simulator.Cluster
	t *testing.T
}

func newWorld(t *testing.T, r *rollouts.Rollout) *world {
	w := &world{simulator.New(r, start), t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("what happened:\n" + w.Trace())
		}
	})
	return w
}

// deployed is a world in which the first revision is Healthy.
func deployed(t *testing.T, r *rollouts.Rollout) *world {
	w := newWorld(t, r)
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	return w
}

func (w *world) settle() {
	w.t.Helper()
	if !w.Settle(500) {
		w.t.Fatal("it does not settle")
	}
}

func (w *world) edit(what string, change func(*rollouts.RolloutSpec)) {
	w.Edit(what, change)
}

// update gives the Rollout another image, and settles.
func (w *world) update(name string) {
	w.t.Helper()
	w.edit("image "+name, image(name))
	w.settle()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) is(phase rollouts.RolloutPhase, message string) {
	w.t.Helper()
	if st := w.Rollout.Status; st.Phase != phase || st.Message != message {
		w.t.Fatalf("%s %q, want %s %q", st.Phase, st.Message, phase, message)
	}
}

// step checks the index of the current step.
func (w *world) step(want int32) {
	w.t.Helper()
	if got := ptr.Deref(w.Rollout.Status.CurrentStepIndex, -1); got != want {
		w.t.Fatalf("step index %d, want %d", got, want)
	}
}

// pods checks the available pods of each revision, oldest ReplicaSet first, as "4 1".
func (w *world) pods(want string) {
	w.t.Helper()
	got := ""
	for i, rs := range w.ReplicaSets() {
		if i > 0 {
			got += " "
		}
		got += fmt.Sprint(w.Available(rs))
	}
	if got != want {
		w.t.Fatalf("available pods by revision: %s, want %s", got, want)
	}
}

func (w *world) refused(err error, reason string) {
	w.t.Helper()
	if refusal, ok := err.(*engine.Refusal); !ok || refusal.Reason != reason {
		w.t.Fatalf("got %v, want a refusal with reason %s", err, reason)
	}
}

// sizes checks the size that each ReplicaSet is told to have, oldest first, as "4 1".
func (w *world) sizes(want string) {
	w.t.Helper()
	var got []string
	for _, rs := range w.ReplicaSets() {
		got = append(got, fmt.Sprint(*rs.Spec.Replicas))
	}
	if strings.Join(got, " ") != want {
		w.t.Fatalf("sizes by revision: %s, want %s", strings.Join(got, " "), want)
	}
}

// degraded checks that the Rollout is Degraded, and the reason that its message begins with.
func (w *world) degraded(reason string) {
	w.t.Helper()
	if st := w.Rollout.Status; st.Phase != rollouts.RolloutPhaseDegraded || !strings.HasPrefix(st.Message, reason+": ") {
		w.t.Fatalf("%s %q, want Degraded with %s", st.Phase, st.Message, reason)
	}
}

// waitFor lets everybody work, a tenth of a second at a time, until the phase is reached.
func (w *world) waitFor(phase rollouts.RolloutPhase, message string) {
	w.t.Helper()
	for range 1000 {
		w.Reconcile()
		w.SyncAll()
		if st := w.Rollout.Status; st.Phase == phase && strings.HasPrefix(st.Message, message) {
			return
		}
		w.Sleep(100 * time.Millisecond)
		w.SyncAll()
	}
	w.t.Fatalf("never %s %q", phase, message)
}

// events checks the reasons of all events so far.
func (w *world) events(want string) {
	w.t.Helper()
	var got []string
	for _, e := range w.Events {
		got = append(got, e.Reason)
	}
	if strings.Join(got, " ") != want {
		w.t.Fatalf("events\n%s, want\n%s", strings.Join(got, " "), want)
	}
}

// condition is the status of a condition, as "True"; "" if there is none.
func (w *world) condition(t rollouts.RolloutConditionType) string {
	for _, c := range w.Rollout.Status.Conditions {
		if c.Type == t {
			return string(c.Status)
		}
	}
	return ""
}
