// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// day is longer than any test.
const day int32 = 24 * 60 * 60

// The new version comes up in full beside the old one, the Service is switched in one write, and the old version
// lingers. Clients always have pods.
// Reference: 3.2 TestBlueGreenUpdate
func TestBlueGreenUpdate(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("blue", 3, lingering(day)))
	s.awaitCounts(r.Name, [5]int32{3, 3, 3, 3, 3})
	s.awaitLed(r.Name, s.hashOf(r, "one"))
	s.observe(r, cluster.Bounds{MaxPods: 6, MinAvailable: 3})
	s.neverEmpty(r, r.Name)
	s.setTag(r.Name, "two")
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(r.Name, s.hashOf(r, "two"))
	s.awaitLed(r.Name+"-preview", s.hashOf(r, "two"))
	s.pods(r, map[string]int{"one": 3, "two": 3})
	s.awaitReasons(r.Name, "NewReplicaSetCreated", "SwitchService", "RolloutCompleted")
}

// awaitReasons waits until there are events of all of these reasons on a Rollout.
func (s *scenario) awaitReasons(name string, reasons ...string) {
	s.Helper()
	for _, reason := range reasons {
		s.eventually("an event "+reason, func(ctx context.Context) bool {
			events, err := s.Host.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",reason=" + reason})
			s.must(err)
			return len(events.Items) > 0
		})
	}
}

// A preview of previewReplicaCount pods waits; promoted, it is brought to its full size before the switch.
// Reference: 3.3 TestBlueGreenPreviewReplicaCount
func TestBlueGreenPreviewReplicaCount(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("small", 2, untilPromoted, lingering(day), func(b *v1alpha1.BlueGreenStrategy) { b.PreviewReplicaCount = ptr.To[int32](1) }))
	s.neverEmpty(r, r.Name)
	s.setTag(r.Name, "two")
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.pods(r, map[string]int{"one": 2, "two": 1})
	s.awaitLed(r.Name, s.hashOf(r, "one"))
	s.awaitLed(r.Name+"-preview", s.hashOf(r, "two"))
	s.must(s.perform(r.Name, "promote"))
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(r.Name, s.hashOf(r, "two"))
	s.pods(r, map[string]int{"one": 2, "two": 2})
}

// A long pause with a deadline of a second is not Degraded; a full promotion brings up all pods, and then switches.
// Reference: 3.3 TestBlueGreenPreviewReplicaCountPromoteFull
// Reference: 3.2 TestBlueGreenPromoteFull
func TestBlueGreenPromoteFull(t *testing.T) {
	s := together(t)
	r := newBlueGreen("full", 3, untilPromoted, lingering(0), func(b *v1alpha1.BlueGreenStrategy) { b.PreviewReplicaCount = ptr.To[int32](1) })
	r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
	r = s.deployBehind(r)
	s.neverEmpty(r, r.Name)
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	// Only now: on a busy machine the pod itself may have been later than its deadline.
	never := s.neverIn(r.Name, v1alpha1.RolloutPhaseDegraded)
	s.pastDeadline(r)
	never()
	s.must(s.perform(r.Name, "promote full"))
	r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(r.Name, s.hashOf(r, "two"))
	s.awaitPods(r, map[string]int{"two": 3})
}

// Old versions linger until their delay is over, but only as many as the limit says, which takes effect at once.
// Reference: 3.2 TestBlueGreenScaleDownDelay
func TestBlueGreenScaleDownDelay(t *testing.T) {
	s := together(t)
	limited := func(limit int32) func(*v1alpha1.BlueGreenStrategy) {
		return func(b *v1alpha1.BlueGreenStrategy) { b.ScaleDownDelayRevisionLimit = ptr.To(limit) }
	}
	r := s.deployBehind(newBlueGreen("lingers", 1, lingering(day), limited(2)))
	for _, tag := range []string{"two", "three", "four"} {
		s.setTag(r.Name, tag)
		r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	}
	s.awaitSizes(r, map[string]int32{"one": 0, "two": 1, "three": 1, "four": 1})
	s.awaitCounts(r.Name, [5]int32{1, 3, 1, 1, 1})
	for _, set := range s.sets(r) {
		tag, marked := cluster.Tag(&set.Spec.Template.Spec), set.Annotations[scaleDownMark] != ""
		if lingers := tag == "two" || tag == "three"; marked != lingers {
			t.Errorf("the ReplicaSet of %s is marked %q", tag, set.Annotations[scaleDownMark])
		}
	}
	s.change(r.Name, func(r *v1alpha1.Rollout) { limited(1)(r.Spec.Strategy.BlueGreen) })
	s.awaitSizes(r, map[string]int32{"one": 0, "two": 0, "three": 1, "four": 1})
	s.change(r.Name, func(r *v1alpha1.Rollout) { lingering(0)(r.Spec.Strategy.BlueGreen) })
	s.awaitLed(r.Name, s.hashOf(r, "four"))
}

// An aborted preview goes after its delay; with 0 it stays. The active version is not touched.
// Reference: 3.2 TestBlueGreenScaleDownOnAbort
func TestBlueGreenScaleDownOnAbort(t *testing.T) {
	for name, want := range map[string]map[string]int32{"goes": {"one": 2, "two": 0}, "stays": {"one": 2, "two": 1}} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := s.deployBehind(newBlueGreen(name, 2, untilPromoted, func(b *v1alpha1.BlueGreenStrategy) {
				b.PreviewReplicaCount = ptr.To[int32](1)
				b.AbortScaleDownDelaySeconds = ptr.To[int32](0)
				if name == "goes" {
					b.AbortScaleDownDelaySeconds = ptr.To[int32](1)
				}
			}))
			s.observe(r, cluster.Bounds{MaxPods: 4, MinAvailable: 2})
			s.neverEmpty(r, r.Name)
			s.setTag(r.Name, "two")
			s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
			s.must(s.perform(r.Name, "abort"))
			s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
			s.awaitLed(r.Name, s.hashOf(r, "one"))
			s.awaitLed(r.Name+"-preview", s.hashOf(r, "one"))
			s.awaitSizes(r, want)
		})
	}
}

// A version that does not get ready in time is Degraded; it is taken back only if that is asked for.
// Reference: 3.2 TestBlueGreenExceedProgressDeadlineAbort
func TestBlueGreenExceedProgressDeadlineAbort(t *testing.T) {
	for name, aborts := range map[string]bool{"kept": false, "taken-back": true} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := newBlueGreen(name, 1, func(b *v1alpha1.BlueGreenStrategy) { b.AbortScaleDownDelaySeconds = ptr.To[int32](1) })
			r.Spec.ProgressDeadlineSeconds, r.Spec.ProgressDeadlineAbort = ptr.To[int32](2), aborts
			r = s.deployBehind(r)
			s.neverEmpty(r, r.Name)
			s.change(r.Name, held("two"))
			got := s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
			if got.Status.Abort != aborts {
				t.Errorf("abort is %v", got.Status.Abort)
			}
			want := map[string]int32{"one": 1, "two": 1}
			if aborts {
				want["two"] = 0
			}
			s.awaitSizes(r, want)
			s.awaitLed(r.Name, s.hashOf(r, "one"))
		})
	}
}

// Degraded by the deadline is left by itself when pods get ready after all: for the pause, or on to Healthy.
// Reference: 3.3 TestBlueGreenProgressDeadlineExceededWithPause
// Reference: 3.3 TestBlueGreenProgressDeadlineExceededWithoutPause
func TestBlueGreenProgressDeadlineExceeded(t *testing.T) {
	for name, pauses := range map[string]bool{"with-pause": true, "without-pause": false} {
		t.Run(name, func(t *testing.T) {
			s := together(t)
			r := newBlueGreen(name, 2, func(b *v1alpha1.BlueGreenStrategy) { b.AutoPromotionEnabled = ptr.To(!pauses) })
			r.Spec.ProgressDeadlineSeconds = ptr.To[int32](2)
			held("one")(r)
			s.service(r.Name, r.Name)
			s.service(r.Name+"-preview", r.Name)
			s.create(r)
			r = s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
			s.letGo(r, "one")
			s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
			s.change(r.Name, held("two"))
			s.awaitPhase(r.Name, v1alpha1.RolloutPhaseDegraded)
			s.letGo(r, "two")
			if pauses {
				s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
				s.awaitLed(r.Name, s.hashOf(r, "one"))
				s.must(s.perform(r.Name, "promote"))
			}
			s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
			s.awaitLed(r.Name, s.hashOf(r, "two"))
		})
	}
}

// kubectl wait understands the conditions Paused and Healthy.
// Reference: 3.2 TestKubectlWaitForPaused
// Reference: 3.2 TestKubectlWaitForCompleted
func TestKubectlWaitForConditions(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("waits", 1, untilPromoted))
	s.setTag(r.Name, "two")
	for _, condition := range []string{"Healthy=False", "Paused"} {
		s.kubectl("wait", resource, r.Name, "--for=condition="+condition, "--timeout=60s")
	}
	s.must(s.perform(r.Name, "promote"))
	for _, condition := range []string{"Paused=False", "Completed", "Healthy=True"} {
		s.kubectl("wait", resource, r.Name, "--for=condition="+condition, "--timeout=60s")
	}
	s.awaitLed(r.Name, s.hashOf(r, "two"))
}

// previewMetadata and activeMetadata are put on pods in place, and swapped at the switch.
// Reference: 3.3 TestEphemeralMetadata
func TestBlueGreenMetadata(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("marked", 2, untilPromoted, lingering(0), func(b *v1alpha1.BlueGreenStrategy) {
		b.ActiveMetadata, b.PreviewMetadata = role("active"), role("preview")
	}))
	s.awaitRoles(r, map[string]int{"one active": 2})
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.awaitRoles(r, map[string]int{"one active": 2, "two preview": 2})
	before := s.podUIDs(r, "two")
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Strategy.BlueGreen.PreviewMetadata = role("candidate") })
	s.awaitRoles(r, map[string]int{"one active": 2, "two candidate": 2})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused) // The status is written last, and says that the change was observed.
	s.must(s.perform(r.Name, "promote"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitRoles(r, map[string]int{"two active": 2})
	s.sameUIDs(r, "two", before)
}

// role is metadata with a value of the label role.
func role(value string) *v1alpha1.PodTemplateMetadata {
	return &v1alpha1.PodTemplateMetadata{Labels: map[string]string{roleLabel: value}}
}

// A change of strategy together with the template keeps the pods, and takes the hash out of the Services' selectors.
// Reference: 3.2 TestBlueGreenToCanary
func TestBlueGreenToCanary(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("changes", 2))
	observer := s.observe(r, cluster.Bounds{MaxPods: 3, MinAvailable: 1})
	s.neverEmpty(r, r.Name)
	s.change(r.Name, func(r *v1alpha1.Rollout) {
		r.Spec.Strategy = newRollout("", 2, weight(50), pause()).Spec.Strategy
		r.Spec.Template.Spec.Containers[0].Image = image("two")
	})
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.awaitLed(r.Name, "")
	s.awaitLed(r.Name+"-preview", "")
	s.pods(r, map[string]int{"one": 1, "two": 1})
	if _, err := observer.Tally(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{r.Name, r.Name + "-preview"} {
		service, err := s.Host.CoreV1().Services(s.namespace).Get(s.ctx(), name, metav1.GetOptions{})
		s.must(err)
		if by := service.Annotations[managedBy]; by != "" {
			t.Errorf("Service %s is still managed by %s", name, by)
		}
	}
}

// The way back: a canary in the middle of an update becomes a blueGreen one, and clients always have pods.
func TestCanaryToBlueGreen(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("back", 2, weight(50), pause()))
	s.service(r.Name, r.Name)
	s.service(r.Name+"-preview", r.Name)
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.neverEmpty(r, r.Name)
	s.change(r.Name, func(r *v1alpha1.Rollout) { r.Spec.Strategy = newBlueGreen(r.Name, 2, lingering(0)).Spec.Strategy })
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(r.Name, s.hashOf(r, "two"))
	s.awaitPods(r, map[string]int{"two": 2})
}

// While its pods are there, going back to the version before is a switch alone: no wait, and no new pod.
func TestBlueGreenFastRollback(t *testing.T) {
	s := together(t)
	r := s.deployBehind(newBlueGreen("again", 2, untilPromoted, lingering(day)))
	s.setTag(r.Name, "two")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhasePaused)
	s.must(s.perform(r.Name, "promote"))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	observer := s.observe(r, cluster.Bounds{MaxPods: 4, MinAvailable: 4})
	s.neverEmpty(r, r.Name)
	s.setTag(r.Name, "one")
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(r.Name, s.hashOf(r, "one"))
	if tally, err := observer.Tally(); err != nil || len(tally.Gone) > 0 {
		t.Errorf("pods that are gone: %v; %v", tally.Gone, err)
	}
}

// A Service that is not there yet is a warning, and waited for: made later, or given up by another Rollout, it is led
// without anybody's help.
// Reference: 3.2 TestFixInvalidSpec
func TestServicesThatAreWaitedFor(t *testing.T) {
	s := together(t)
	missing := newBlueGreen("missing", 1)
	output := s.run(encode(manifest(missing)), "apply", "-f", "-")
	s.must(output.Err())
	s.contains(output.Stderr, `spec.strategy.blueGreen.activeService: Service "missing" does not exist in namespace "`+s.namespace+`" yet; the rollout waits for it`)
	r := s.await(missing.Name, func(r *v1alpha1.Rollout) string { return unless(r.Status.AvailableReplicas == 1, "an available pod") })
	s.service(missing.Name, missing.Name)
	s.service(missing.Name+"-preview", missing.Name)
	s.awaitPhase(missing.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(missing.Name, s.hashOf(r, "one"))

	other := newBlueGreen("other", 1, func(b *v1alpha1.BlueGreenStrategy) { b.ActiveService, b.PreviewService = "missing", "" })
	other.Spec.Template.Labels["app"], other.Spec.Selector.MatchLabels = "missing", map[string]string{"app": "missing", "of": "other"}
	other.Spec.Template.Labels["of"] = "other"
	output = s.run(encode(manifest(other)), "apply", "-f", "-")
	s.must(output.Err())
	s.contains(output.Stderr, `Service "missing" in namespace "`+s.namespace+`" is managed by Rollout "missing"`)
	s.await(other.Name, func(r *v1alpha1.Rollout) string { return unless(r.Status.AvailableReplicas == 1, "an available pod") })
	s.awaitLed(missing.Name, s.hashOf(r, "one"))
	s.kubectl("delete", resource, missing.Name)
	s.awaitPhase(other.Name, v1alpha1.RolloutPhaseHealthy)
	s.awaitLed(missing.Name, s.hashOf(s.get(other.Name), "one"))
}

// podUIDs are the pods of a version.
func (s *scenario) podUIDs(r *v1alpha1.Rollout, tag string) map[string]bool {
	s.Helper()
	pods, err := s.Pods(s.namespace, r.Status.Selector).Now(s.ctx())
	s.must(err)
	found := map[string]bool{}
	for _, pod := range pods {
		if cluster.Tag(&pod.Spec) == tag && pod.DeletionTimestamp == nil {
			found[string(pod.UID)] = true
		}
	}
	return found
}

// sameUIDs fails the test unless all of these pods are still there.
func (s *scenario) sameUIDs(r *v1alpha1.Rollout, tag string, before map[string]bool) {
	s.Helper()
	now := s.podUIDs(r, tag)
	for uid := range before {
		if !now[uid] {
			s.Errorf("pod %s of %s was made anew", uid, tag)
		}
	}
}

// neverIn watches a Rollout; the returned function fails the test if it was ever in a phase since.
func (s *scenario) neverIn(name string, phase v1alpha1.RolloutPhase) (check func()) {
	s.Helper()
	ctx, stop := context.WithCancel(s.Context())
	seen, done := "", make(chan struct{})
	go func() {
		defer close(done)
		_, _ = cluster.Await(ctx, s.Rollout(s.namespace, name), func(found []*v1alpha1.Rollout) string {
			for _, r := range found {
				if r.Status.Phase == phase {
					seen = r.Status.Message
				}
			}
			return "the end"
		})
	}()
	return func() {
		s.Helper()
		stop()
		<-done
		if seen != "" {
			s.Errorf("%s was %s: %s", name, phase, seen)
		}
	}
}

// pastDeadline returns when the progress deadline of a Rollout has passed, counted from now.
func (s *scenario) pastDeadline(r *v1alpha1.Rollout) {
	s.Helper()
	until := time.Now().Add(time.Duration(*r.Spec.ProgressDeadlineSeconds+1) * time.Second)
	s.eventually("the deadline", func(context.Context) bool { return time.Now().After(until) })
}
