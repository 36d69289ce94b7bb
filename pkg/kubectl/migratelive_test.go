// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

func asItIs(map[string]any) {}

func TestMigrateLive(t *testing.T) {
	m := newMigrationBench(t, asItIs)
	m.expect(t, "migrate --live demo", 0, `rollout.argoproj.io/demo deleted, its pods are kept
service/demo-stable handed over
rollout.sluice.dev/demo created
rollout.sluice.dev/demo is Healthy with the 2 pods that ran before`, "")
	m.complete(t)
	want := []string{
		"patch pods demo-p1", "patch pods demo-p2", "patch replicasets demo-old", "patch replicasets demo-abc", "delete rollouts demo",
		"patch replicasets demo-abc", "patch replicasets demo-old", // The references to Argo's Rollout.
		"patch replicasets demo-abc", "patch replicasets demo-old", // The labels of the templates.
		"patch services demo-stable", "create rollouts demo", "patch replicasets demo-abc",
	}
	if !slices.Equal(m.done, want) {
		t.Errorf("written was\n%s\nwant\n%s", strings.Join(m.done, "\n"), strings.Join(want, "\n"))
	}
	for _, action := range m.theirs.Actions() {
		if deletion, ok := action.(clienttesting.DeleteActionImpl); ok {
			o := deletion.DeleteOptions
			if *o.PropagationPolicy != metav1.DeletePropagationOrphan || *o.Preconditions.UID != "uid-argo" || *o.Preconditions.ResourceVersion != "9" {
				t.Errorf("deleted with %+v", o)
			}
		}
	}
	// Once more is nothing to do.
	m.out.b.Reset()
	m.expect(t, "migrate --live demo", 0, "rollout.sluice.dev/demo is there already, and there is no rollout.argoproj.io/demo: nothing to do", "")
}

// TestMigrateLiveGoesOnAfterEveryCrash cuts it off after each of its writes, and starts it again.
func TestMigrateLiveGoesOnAfterEveryCrash(t *testing.T) {
	for writes := 0; ; writes++ {
		m := newMigrationBench(t, asItIs)
		m.left = writes
		code := m.do(t.Context(), "migrate --live demo")
		if code == 0 {
			if writes < 10 {
				t.Errorf("done after %d writes", writes)
			}
			return
		}
		t.Run(fmt.Sprintf("after %d writes", writes), func(t *testing.T) {
			m.safe(t)
			if said := m.errOut.String(); !strings.Contains(said, "the line is cut") || !strings.Contains(said, "Where it stands: ") || !strings.Contains(said, "kubectl sluice migrate --live demo --namespace shop") && writes > 0 {
				t.Errorf("it does not say how to go on: %s", said)
			}
			_, err := m.theirs.Resource(argo.Resource).Namespace("shop").Get(t.Context(), "demo", metav1.GetOptions{})
			if there := err == nil; there != strings.Contains(m.errOut.String(), "rollout.argoproj.io/demo is as it was") {
				t.Errorf("Argo's Rollout is there: %v, but said is: %s", there, m.errOut)
			}
			m.left = -1
			all := "migrate --live --all"
			if writes%2 == 0 {
				all = "migrate --live rollouts.argoproj.io/demo"
			}
			if code := m.do(t.Context(), all); code != 0 {
				t.Fatalf("the second time: exit code %d: %s", code, m.errOut)
			}
			m.complete(t)
		})
	}
}

func TestMigrateLiveRefuses(t *testing.T) {
	set := func(value any, fields ...string) func(map[string]any) {
		return func(object map[string]any) {
			if err := unstructured.SetNestedField(object, value, fields...); err != nil {
				panic(err)
			}
		}
	}
	changed := func(change func(*appsv1.ReplicaSet)) []runtime.Object {
		rs := setOf("abc", "app:7", "7", 2)
		change(rs)
		return []runtime.Object{rs}
	}
	for _, test := range []struct {
		rule    string
		change  func(map[string]any)
		objects []runtime.Object
		want    string
	}{
		{"it is not Healthy", set("Progressing", "status", "phase"), nil, `its phase is "Progressing", not Healthy`},
		{"its last change was not seen", set("2", "status", "observedGeneration"), nil, `observedGeneration is "2", the generation 3`},
		{"an update is in flight", set("def", "status", "currentPodHash"), nil, `the current revision is "def", the stable one "abc"`},
		{"it is aborted", set(true, "status", "abort"), nil, "paused or aborted"},
		{"it is paused", set(true, "spec", "paused"), nil, "paused or aborted"},
		{"a restart is not done", set("2026-05-05T05:05:05Z", "spec", "restartAt"), nil, "a restart, asked for at 2026-05-05T05:05:05Z, is not done"},
		{"it has a template elsewhere", set(map[string]any{"name": "demo"}, "spec", "workloadRef"), nil, "spec.workloadRef"},
		{"others hold it", set([]any{"example.com/hold"}, "metadata", "finalizers"), nil, "finalizers of others: example.com/hold"},
		{"it loses a field", set(true, "spec", "strategy", "canary", "dynamicStableScale"), nil, "--drop-unsupported leaves them out"},
		{"it has a value that is refused", set(int64(-1), "spec", "strategy", "canary", "maxSurge"), nil, "spec.strategy.canary.maxSurge"},
		{"its ReplicaSet is not there", asItIs, []runtime.Object{setOf("old", "app:6", "6", 0)}, "it has no ReplicaSet of its revision abc"},
		{"another revision has pods", asItIs, []runtime.Object{setOf("abc", "app:7", "7", 2), setOf("old", "app:6", "6", 1)}, "replicaset.apps/demo-old, of another revision, still has pods"},
		{"not all pods are available", asItIs, changed(func(rs *appsv1.ReplicaSet) { rs.Status.AvailableReplicas = 1 }), "is to have 2 pods, has 2 and 1 of them available"},
		{"its ReplicaSet is being deleted", asItIs, changed(func(rs *appsv1.ReplicaSet) {
			rs.DeletionTimestamp, rs.Finalizers = ptr.To(metav1.Now()), []string{"example.com/hold"}
		}), "replicaset.apps/demo-abc is being deleted"},
		{"what runs is not what it says", asItIs, changed(func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Spec.NodeName = "injected" }), "would start new pods"},
		{"a Rollout of Sluice has the name", asItIs, []runtime.Object{setOf("abc", "app:7", "7", 2), demo()}, "rollout.sluice.dev/demo is there already"},
		{"a Rollout of Sluice wants the pods", asItIs, []runtime.Object{setOf("abc", "app:7", "7", 2), demo(func(r *v1alpha1.Rollout) { r.Name = "rival" })}, "rollout.sluice.dev/rival selects the same pods"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			m := newMigrationBench(t, test.change, test.objects...)
			if code := m.do(t.Context(), "migrate --live demo"); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if said := m.errOut.String(); !strings.Contains(said, test.want) || !strings.Contains(said, "nothing was changed") {
				t.Errorf("said\n%s\nwant %q", said, test.want)
			}
			if len(m.done) > 0 {
				t.Errorf("it wrote %v", m.done)
			}
		})
	}
}

func TestMigrateLiveDrops(t *testing.T) {
	m := newMigrationBench(t, func(object map[string]any) {
		canary, _, _ := unstructured.NestedMap(object, "spec", "strategy", "canary")
		canary["trafficRouting"] = map[string]any{}
		if err := unstructured.SetNestedMap(object, canary, "spec", "strategy", "canary"); err != nil {
			t.Fatal(err)
		}
	})
	if code := m.do(t.Context(), "migrate --live demo --drop-unsupported"); code != 0 {
		t.Fatalf("exit code %d: %s", code, m.errOut)
	}
	if said := m.errOut.String(); !strings.Contains(said, "rollout.argoproj.io/demo: spec.strategy.canary.trafficRouting: not carried: ") {
		t.Errorf("said %s", said)
	}
	m.complete(t)
}

func TestMigrateLiveDryRun(t *testing.T) {
	const out = "rollout.argoproj.io/demo would be deleted, its pods kept (dry run)\nrollout.sluice.dev/demo would adopt replicaset.apps/demo-abc with 2 pods (dry run)"
	for line, errOut := range map[string]string{
		"migrate --live demo --dry-run=client":  "The servers were not asked whether the template is what runs; --dry-run=server asks them.",
		"migrate --live --all --dry-run=server": "",
	} {
		m := newMigrationBench(t, asItIs)
		m.expect(t, line, 0, out, errOut)
		if len(m.done) > 0 {
			t.Errorf("%s wrote %v", line, m.done)
		}
	}
	m := newMigrationBench(t, asItIs)
	m.left = 5 // Argo's Rollout is gone.
	m.do(t.Context(), "migrate --live demo")
	m.done, m.left = nil, -1
	if code := m.do(t.Context(), "migrate --live demo --dry-run=client"); code != 0 || len(m.done) > 0 || !strings.Contains(m.out.String(), "would be taken over") {
		t.Errorf("exit code %d, wrote %v, said %s", code, m.done, m.out)
	}
}

func TestMigrateLiveAdvises(t *testing.T) {
	scaler := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "scaler", Namespace: "shop"},
		Spec:       autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "demo"}},
	}
	m := newMigrationBench(t, func(object map[string]any) {
		object["metadata"].(map[string]any)["annotations"] = map[string]any{argoTracking: "shop:argoproj.io/Rollout:shop/demo"}
	}, setOf("abc", "app:7", "7", 2), setOf("old", "app:6", "6", 0), scaler)
	if code := m.do(t.Context(), "migrate --live demo"); code != 0 {
		t.Fatalf("exit code %d: %s", code, m.errOut)
	}
	for _, want := range []string{"comes from Git", `kubectl patch hpa scaler --namespace shop --type=merge -p '{"spec":{"scaleTargetRef":{"apiVersion":"sluice.dev/v1alpha1"}}}'`} {
		if !strings.Contains(m.errOut.String(), want) {
			t.Errorf("%q is missing in\n%s", want, m.errOut)
		}
	}
	m.complete(t)
}

func TestMigrateLiveStopsWhereAnotherControllerTookIt(t *testing.T) {
	m := newMigrationBench(t, asItIs)
	m.left = 7 // The references are off.
	m.do(t.Context(), "migrate --live demo")
	rs, err := m.kube.AppsV1().ReplicaSets("shop").Get(t.Context(), "demo-abc", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rs.OwnerReferences = []metav1.OwnerReference{{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "demo", UID: "uid-again", Controller: ptr.To(true)}}
	if err := m.kube.Tracker().Update(replicaSetsResource, rs, "shop"); err != nil {
		t.Fatal(err)
	}
	m.left, m.done = -1, nil
	if code := m.do(t.Context(), "migrate --live demo"); code != 1 || len(m.done) > 0 || !strings.Contains(m.errOut.String(), "another controller has taken it: Rollout demo of argoproj.io/v1alpha1") {
		t.Errorf("exit code %d, wrote %v: %s", code, m.done, m.errOut)
	}
}

// lingers makes Argo's Rollout stay while it is being deleted, as it does until the garbage collector lets go of it.
func (m *migrationBench) lingers(t *testing.T) {
	t.Helper()
	m.theirs.PrependReactor("delete", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		going := argoRollout(t, asItIs)
		going.SetDeletionTimestamp(ptr.To(metav1.Now()))
		going.SetFinalizers([]string{metav1.FinalizerOrphanDependents})
		return true, nil, m.theirs.Tracker().Update(argo.Resource, going, "shop")
	})
}

func TestMigrateLiveWaitsForTheGarbageCollector(t *testing.T) {
	const stands = "Where it stands: rollout.argoproj.io/demo is deleted or being deleted, and its pods run on in ReplicaSets that nobody scales. To go on: 'kubectl sluice migrate --live demo --namespace shop'. To go back: apply the manifest of rollout.argoproj.io/demo again once it is gone."
	m := newMigrationBench(t, asItIs)
	m.lingers(t)
	m.expect(t, "migrate --live demo --timeout 200ms", 1, "rollout.argoproj.io/demo deleted, its pods are kept",
		"error: not done after 200ms, while the garbage collector was to let go of rollout.argoproj.io/demo (is kube-controller-manager running?)\n"+stands)
	m.safe(t)
	if free := m.adoptable(t); len(free) != 2 {
		t.Errorf("%d ReplicaSets refer to nobody any more", len(free))
	}

	// Interrupted while it waits.
	m.errOut.b.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	looks := func() int { return len(m.theirs.Actions()) }
	before, code := looks(), make(chan int, 1)
	go func() { code <- m.do(ctx, "migrate --live demo") }()
	await(t, "look at Argo's Rollout", func() bool { return looks() > before+3 })
	cancel()
	if got := <-code; got != exitInterrupted || strings.TrimSpace(m.errOut.String()) != "Interrupted. "+stands {
		t.Errorf("exit code %d, said %s", got, m.errOut)
	}

	// It goes on when the garbage collector is done.
	if err := m.theirs.Tracker().Delete(argo.Resource, "shop", "demo"); err != nil {
		t.Fatal(err)
	}
	if code := m.do(t.Context(), "migrate --live demo"); code != 0 {
		t.Fatalf("exit code %d: %s", code, m.errOut)
	}
	m.complete(t)
}

func TestMigrateLiveDeletesOnlyWhatItChecked(t *testing.T) {
	m := newMigrationBench(t, asItIs)
	m.theirs.PrependReactor("delete", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(argo.Resource.GroupResource(), "demo", errors.New("resourceVersion"))
	})
	if code := m.do(t.Context(), "migrate --live demo"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"has changed since it was checked", "is as it was", "To go back there is nothing to do."} {
		if !strings.Contains(m.errOut.String(), want) {
			t.Errorf("%q is missing in\n%s", want, m.errOut)
		}
	}
	m.safe(t)
}

func TestMigrateLiveNothing(t *testing.T) {
	m := newMigrationBench(t, asItIs)
	m.expect(t, "migrate --live other", 1, "", "error: there is no rollout.argoproj.io/other in namespace shop, nor one whose move was begun\nWhere it stands: nothing was changed.")
	if err := m.theirs.Tracker().Delete(argo.Resource, "shop", "demo"); err != nil {
		t.Fatal(err)
	}
	m.errOut.b.Reset()
	m.expect(t, "migrate --live --all", 0, "", "No resources found in shop namespace.")
}
