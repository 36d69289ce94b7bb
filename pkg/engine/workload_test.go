// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// referring is r with its template, and its selector, in a Deployment.
func referring(r *rollouts.Rollout, mode rollouts.WorkloadScaleDown) (*rollouts.Rollout, *appsv1.Deployment) {
	w := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: r.Namespace},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(*r.Spec.Replicas), Selector: r.Spec.Selector, Template: r.Spec.Template},
	}
	r.Spec.Template, r.Spec.Selector = corev1.PodTemplateSpec{}, nil
	r.Spec.WorkloadRef = &rollouts.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", ScaleDown: mode}
	return r, w
}

// migrated is a world in which a Rollout has taken over from a Deployment.
func migrated(t *testing.T, r *rollouts.Rollout, mode rollouts.WorkloadScaleDown) *world {
	t.Helper()
	r, deployment := referring(r, mode)
	w := newWorld(t, r)
	w.Deploy(deployment)
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	return w
}

func deploymentImage(name string) func(*appsv1.Deployment) {
	return func(w *appsv1.Deployment) { w.Spec.Template.Spec.Containers[0].Image = name }
}

func (w *world) revision(want int64) {
	w.t.Helper()
	if got := w.Rollout.Status.Revision; got != want {
		w.t.Fatalf("revision %d, want %d", got, want)
	}
}

func (w *world) deploymentHas(want int32) {
	w.t.Helper()
	if got := *w.Workload().Spec.Replicas; got != want {
		w.t.Fatalf("the Deployment has %d replicas, want %d", got, want)
	}
}

func (w *world) explains(code rollouts.BlockerCode, part string) {
	w.t.Helper()
	blockers := engine.Explain(w.Snapshot(), engine.ControllerState{Acting: true})
	for _, b := range blockers {
		if b.Code == code && strings.Contains(b.Message, part) {
			return
		}
	}
	w.t.Fatalf("no blocker %s with %q in %+v", code, part, blockers)
}

// A change of the template of the Deployment is an update, and nothing else of it is. Nothing of it is stored in the spec.
func TestWorkloadTemplate(t *testing.T) {
	w := migrated(t, rollout(4, weight(25), pause("")), rollouts.WorkloadScaleDownNever)
	w.revision(1)
	w.deploymentHas(4)
	if spec := w.Rollout.Spec; spec.Selector != nil || len(spec.Template.Spec.Containers) > 0 {
		t.Error("the template or the selector was stored")
	}
	if st := w.Rollout.Status; st.WorkloadObservedGeneration != 1 || st.Selector != "app=demo" {
		t.Errorf("observed generation %d, selector %q", st.WorkloadObservedGeneration, st.Selector)
	}

	w.Redeploy(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](7) })
	w.settle()
	w.revision(1)

	w.Redeploy(deploymentImage("v2"))
	w.settle()
	w.revision(2)
	w.is(rollouts.RolloutPhasePaused, "CanaryPauseStep")
	if got := w.Rollout.Status.TemplateAuthors; len(got) == 0 || got[0] != "*" {
		t.Errorf("authors %v: who changed a Deployment is not known", got)
	}

	w.must(w.Abort())
	w.settle()
	w.revision(2)
	w.must(w.Retry())
	w.settle()
	w.must(w.Promote(true))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.revision(2)

	var refusal *engine.Refusal
	if err := w.Undo(0); !errors.As(err, &refusal) || refusal.Reason != engine.ReasonTemplateOfWorkload {
		t.Errorf("undo: %v", err)
	}
	w.Redeploy(deploymentImage("v1"))
	w.settle()
	w.revision(3)
	if got := len(w.ReplicaSets()); got != 2 {
		t.Errorf("%d ReplicaSets: going back makes none", got)
	}
}

// A controller that crashes anywhere on the way starts a revision once.
func TestWorkloadRevisionOutlivesCrashes(t *testing.T) {
	for writes := range 4 {
		w := migrated(t, rollout(2), rollouts.WorkloadScaleDownNever)
		w.Redeploy(deploymentImage("v2"))
		for range 3 {
			s := w.Snapshot()
			if err := w.Apply(s, engine.Decide(s), writes); err != nil && !errors.Is(err, simulator.ErrCrashed) {
				t.Fatal(err)
			}
		}
		w.settle()
		w.is(rollouts.RolloutPhaseHealthy, "")
		w.revision(2)
	}
}

// What the cluster has put into a ReplicaSet on its way is no other template.
func TestWorkloadTemplateChangedOnTheWay(t *testing.T) {
	w := migrated(t, rollout(2), rollouts.WorkloadScaleDownNever)
	s := w.Snapshot()
	s.ReplicaSets[0] = s.ReplicaSets[0].DeepCopy()
	s.ReplicaSets[0].Spec.Template.Spec.Containers = append(s.ReplicaSets[0].Spec.Template.Spec.Containers, corev1.Container{Name: "sidecar"})
	if d := engine.Decide(s); d.Status != nil || d.Create != nil {
		t.Errorf("it decides %+v", d)
	}
}

// While the Deployment cannot be used no pod is touched; it goes on by itself.
func TestWorkloadMissing(t *testing.T) {
	for _, test := range []struct {
		name       string
		breaks     func(w *world)
		heal       func(w *world, d *appsv1.Deployment)
		code       rollouts.BlockerCode
		part       string
		newVersion bool
	}{
		{"gone", func(w *world) { w.Undeploy() }, func(w *world, d *appsv1.Deployment) { w.Deploy(d) },
			rollouts.BlockerWorkloadMissing, "does not exist in namespace default", false},
		{"gone, and back with another template", func(w *world) { w.Undeploy() },
			func(w *world, d *appsv1.Deployment) { deploymentImage("v2")(d); w.Deploy(d) },
			rollouts.BlockerWorkloadMissing, `names Deployment "web"`, true},
		{"another is named", func(w *world) {
			w.edit("ref", func(spec *rollouts.RolloutSpec) { spec.WorkloadRef.Name = "other" })
		},
			func(w *world, _ *appsv1.Deployment) {
				w.edit("ref", func(spec *rollouts.RolloutSpec) { spec.WorkloadRef.Name = "web" })
			}, rollouts.BlockerWorkloadMissing, `names Deployment "other"`, false},
		{"other pods", func(w *world) {
			w.edit("selector", func(spec *rollouts.RolloutSpec) {
				spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "demo", "tier": "web"}}
			})
		}, func(w *world, _ *appsv1.Deployment) {
			w.edit("selector", func(spec *rollouts.RolloutSpec) { spec.Selector = nil })
		}, rollouts.BlockerWorkloadMismatch, "labels that spec.selector asks for", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := migrated(t, rollout(3), rollouts.WorkloadScaleDownNever)
			deployment := w.Workload().DeepCopy()
			test.breaks(w)
			w.edit("scale", scale(5))
			before := w.Written.ReplicaSets
			w.settle()
			w.degraded("InvalidSpec")
			w.explains(test.code, test.part)
			if w.Written.ReplicaSets != before {
				t.Error("a ReplicaSet was written")
			}
			if _, err := engine.Inlined(w.Snapshot()); err == nil {
				t.Error("there is something to plan with")
			}
			test.heal(w, deployment)
			w.settle()
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.revision(map[bool]int64{false: 1, true: 2}[test.newVersion])
		})
	}
}

// A template of its own and that of a Deployment are the same revision if they are the same template.
func TestWorkloadToInlineAndBack(t *testing.T) {
	w := migrated(t, rollout(3), rollouts.WorkloadScaleDownNever)
	ref := w.Rollout.Spec.WorkloadRef
	w.edit("inline", func(spec *rollouts.RolloutSpec) {
		spec.WorkloadRef, spec.Template, spec.Selector = nil, *w.Workload().Spec.Template.DeepCopy(), w.Workload().Spec.Selector
	})
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
	w.revision(1)
	if got := w.Rollout.Status.WorkloadObservedGeneration; got != 0 {
		t.Errorf("observed generation %d of no Deployment", got)
	}
	w.edit("back", func(spec *rollouts.RolloutSpec) { spec.WorkloadRef, spec.Template = ref, corev1.PodTemplateSpec{} })
	w.settle()
	w.revision(1)
	if got := len(w.ReplicaSets()); got != 1 {
		t.Errorf("%d ReplicaSets", got)
	}
}

// An update that a Deployment brings is planned and approved as any other, but nobody is known to be no author.
func TestWorkloadApprovalNeedsOverride(t *testing.T) {
	w := migrated(t, rollout(2, approval(1)), rollouts.WorkloadScaleDownNever)
	w.Redeploy(deploymentImage("v2"))
	w.settle()
	var forbidden *engine.Forbidden
	if err := w.PromoteAs(engine.Actor{Name: "anna"}, engine.PromoteOptions{}); !errors.As(err, &forbidden) || forbidden.Reason != engine.ReasonAuthorUnknown {
		t.Fatalf("promote: %v", err)
	}
	w.must(w.PromoteAs(engine.Actor{Name: "anna", Rights: []engine.Right{engine.RightOverride}}, engine.PromoteOptions{Override: true}))
	w.settle()
	w.is(rollouts.RolloutPhaseHealthy, "")
}

// Inlined is what the next decision starts from.
func TestInlinedHasTheRevisionToBe(t *testing.T) {
	w := migrated(t, rollout(2), rollouts.WorkloadScaleDownNever)
	w.Redeploy(deploymentImage("v2"))
	inlined, err := engine.Inlined(w.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	w.Reconcile()
	if got, want := inlined.Rollout.Status.CurrentPodHash, w.Rollout.Status.CurrentPodHash; got != want || inlined.Rollout.Spec.WorkloadRef != nil {
		t.Errorf("hash %s, want %s", got, want)
	}
}

// The Deployment is scaled down as its mode says, once; what becomes of it afterwards is shown.
func TestWorkloadScaleDown(t *testing.T) {
	for _, test := range []struct {
		mode rollouts.WorkloadScaleDown
		size int32 // of the Deployment once the Rollout is Healthy
		done bool
	}{
		{rollouts.WorkloadScaleDownNever, 4, false},
		{rollouts.WorkloadScaleDownOnSuccess, 0, true},
		{rollouts.WorkloadScaleDownProgressively, 0, true},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			r, deployment := referring(bounded(rollout(4), "1", "0"), test.mode)
			w := newWorld(t, r)
			w.Deploy(deployment)
			w.settle()
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.deploymentHas(test.size)
			if got := w.Rollout.Status.WorkloadScaledDown != ""; got != test.done {
				t.Errorf("done: %t", got)
			}
			if !test.done {
				return
			}
			w.edit("scale", scale(8))
			w.Redeploy(deploymentImage("v2"))
			w.settle()
			w.is(rollouts.RolloutPhaseHealthy, "")
			w.deploymentHas(0)

			w.Redeploy(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](4) })
			written := w.Written.Workloads
			w.settle()
			w.explains(rollouts.BlockerWorkloadScaledUp, "both serve now")
			if w.deploymentHas(4); w.Written.Workloads != written {
				t.Error("it is fought over")
			}
			w.Redeploy(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0) })
			w.settle()
			if got := engine.Explain(w.Snapshot(), engine.ControllerState{Acting: true}); len(got) > 0 {
				t.Errorf("still blocked by %+v", got)
			}
		})
	}
}

// Progressively as many pods of the Deployment are kept as the Rollout lacks, never more than there were, and none is
// taken while that cannot be told.
func TestWorkloadScalesAsPodsBecomeAvailable(t *testing.T) {
	for _, test := range []struct {
		name            string
		available, size int32
		happen          func(s *engine.Snapshot)
		want            int32
	}{
		{"none is available", 0, 4, nil, 4},
		{"one is", 1, 4, nil, 3},
		{"three are", 3, 3, nil, 1},
		{"one went again", 1, 1, nil, 3},
		{"it never had as many", 0, 2, func(s *engine.Snapshot) { delete(s.Workload.Annotations, rollouts.WorkloadReplicasAnnotation) }, 2},
		{"it replaces its own pods", 3, 4, func(s *engine.Snapshot) { s.Workload.Status.UpdatedReplicas = 2 }, 4},
		{"it has not seen its last change", 3, 4, func(s *engine.Snapshot) { s.Workload.Status.ObservedGeneration-- }, 4},
		{"paused, and fewer are needed", 3, 4, func(s *engine.Snapshot) { s.Rollout.Spec.Paused = true }, 4},
		{"paused, and more are needed", 1, 2, func(s *engine.Snapshot) { s.Rollout.Spec.Paused = true }, 3},
		{"it is done", 1, 0, func(s *engine.Snapshot) { s.Rollout.Status.WorkloadScaledDown = s.Workload.UID }, 0},
		{"it was done with another", 1, 1, func(s *engine.Snapshot) { s.Rollout.Status.WorkloadScaledDown = "other" }, 3},
		{"onsuccess waits for all", 3, 4, func(s *engine.Snapshot) {
			s.Rollout.Spec.WorkloadRef.ScaleDown = rollouts.WorkloadScaleDownOnSuccess
		}, 4},
		{"it is about to go", 3, 4, func(s *engine.Snapshot) { s.Workload.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, deployment := referring(rollout(4), rollouts.WorkloadScaleDownProgressively)
			deployment.Spec.Replicas = ptr.To(test.size)
			deployment.Annotations = map[string]string{rollouts.WorkloadReplicasAnnotation: "4"}
			w := newWorld(t, r)
			w.Deploy(deployment)
			w.Reconcile()
			w.Reconcile()
			w.SyncAll()
			s := w.Snapshot()
			s.Rollout, s.Workload, s.ReplicaSets[0] = s.Rollout.DeepCopy(), s.Workload.DeepCopy(), s.ReplicaSets[0].DeepCopy()
			s.Workload.Spec.Replicas = ptr.To(test.size)
			s.ReplicaSets[0].Status.ReadyReplicas, s.ReplicaSets[0].Status.AvailableReplicas = test.available, test.available
			if test.happen != nil {
				test.happen(&s)
			}
			got := test.size
			if d := engine.Decide(s); d.Workload != nil {
				got = d.Workload.Replicas
			}
			if got != test.want {
				t.Errorf("%d pods, want %d", got, test.want)
			}
		})
	}
}

// Pods that never come up leave the Deployment as it is, and those that went again are made good.
func TestWorkloadIsScaledBackUp(t *testing.T) {
	r, deployment := referring(rollout(4), rollouts.WorkloadScaleDownProgressively)
	w := newWorld(t, r)
	w.Deploy(deployment)
	w.Pods = func(*corev1.PodTemplateSpec) (time.Duration, bool) { return 0, false }
	w.settle()
	w.degraded("ProgressDeadlineExceeded")
	w.deploymentHas(4)

	w.Redeploy(func(d *appsv1.Deployment) {
		d.Spec.Replicas = ptr.To[int32](1)
		d.Annotations = map[string]string{rollouts.WorkloadReplicasAnnotation: "4"}
	})
	w.settle()
	w.deploymentHas(4)
	// It never had more, so it does not get more.
	w.edit("scale", scale(9))
	w.settle()
	w.deploymentHas(4)
}
