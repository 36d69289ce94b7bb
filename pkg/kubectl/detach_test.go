// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

var (
	rolloutsResource    = v1alpha1.SchemeGroupVersion.WithResource("rollouts")
	replicaSetsResource = appsv1.SchemeGroupVersion.WithResource("replicasets")
)

// owners are the owner references that a ReplicaSet has now.
func (b *bench) owners(t *testing.T, rs *appsv1.ReplicaSet) []metav1.OwnerReference {
	t.Helper()
	object, err := b.kube.Tracker().Get(replicaSetsResource, rs.Namespace, rs.Name)
	if err != nil {
		t.Fatal(err)
	}
	return object.(*appsv1.ReplicaSet).OwnerReferences
}

// deletions are the options of the deletions of Rollouts that were asked for.
func (b *bench) deletions() []metav1.DeleteOptions {
	var options []metav1.DeleteOptions
	for _, action := range b.sluice.Actions() {
		if deletion, ok := action.(clienttesting.DeleteActionImpl); ok {
			options = append(options, deletion.DeleteOptions)
		}
	}
	return options
}

// serverGone makes every request for Rollouts fail as behind an APIService that is unavailable.
func (b *bench) serverGone(err error) {
	b.sluice.PrependReactor("*", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

func TestDetachLetsTheServerDeleteAndOrphan(t *testing.T) {
	r, other := demo(), demo(func(r *v1alpha1.Rollout) { r.Name, r.UID = "other", "uid-other" })
	rs, untouched := replicaSetOf(r, "new"), replicaSetOf(other, "new")
	b := newBench(r, other, rs, untouched)
	b.expect(t, "detach demo", 0, "rollout.sluice.dev/demo deleted, its pods are kept\nreplicaset.apps/demo-new detached", "")
	asked := b.deletions()
	if len(asked) != 1 || *asked[0].PropagationPolicy != metav1.DeletePropagationOrphan || *asked[0].Preconditions.UID != "uid-demo" {
		t.Errorf("deleted with %+v", asked)
	}
	if owners := b.owners(t, rs); len(owners) != 0 {
		t.Errorf("still owned: %v", owners)
	}
	if owners := b.owners(t, untouched); len(owners) != 1 {
		t.Error("the ReplicaSet of another Rollout was detached")
	}
}

func TestDetachStripsOneStateOfOneOwner(t *testing.T) {
	rs := replicaSetOf(demo(), "new")
	rs.OwnerReferences = append(rs.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "uid-c"})
	b := newBench(demo(), rs)
	if code := b.do(t.Context(), "detach --all"); code != 0 {
		t.Fatalf("exit code %d: %s", code, b.errOut)
	}
	for _, action := range b.kube.Actions() {
		if patch, ok := action.(clienttesting.PatchAction); ok {
			const want = `{"metadata":{"ownerReferences":[{"$patch":"delete","uid":"uid-demo"}],"resourceVersion":"3","uid":"uid-demonew"}}`
			if string(patch.GetPatch()) != want {
				t.Errorf("patched with %s, want %s", patch.GetPatch(), want)
			}
		}
	}
	if owners := b.owners(t, rs); len(owners) != 1 || owners[0].Kind != "ConfigMap" {
		t.Errorf("only references to Rollouts are ours to take off: %v", owners)
	}
}

func TestDetachWithoutTheServer(t *testing.T) {
	tests := []struct {
		rule string
		err  error
	}{
		{"the APIService is unavailable", apierrors.NewServiceUnavailable("service unavailable")},
		{"the group is gone", apierrors.NewGenericServerResponse(404, "list", v1alpha1.Resource("rollouts"), "", "404 page not found", 0, true)},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			rs, elsewhere := replicaSetOf(demo(), "new"), replicaSetOf(demo(func(r *v1alpha1.Rollout) { r.Namespace = "edge" }), "new")
			b := newBench(rs, elsewhere)
			b.serverGone(test.err)
			b.expect(t, "detach --all", 0, "replicaset.apps/demo-new detached", fmt.Sprintf(
				"The server of Sluice does not answer (%v).\nOwner references are taken off without it; if it comes back with its store, it adopts the ReplicaSets again.\n"+
					"ReplicaSets in other namespaces that belong to Rollouts: 1. Before uninstalling Sluice, run 'kubectl sluice detach --all --all-namespaces'.", test.err))
			if owners := b.owners(t, rs); len(owners) != 0 {
				t.Errorf("still owned: %v", owners)
			}
			if owners := b.owners(t, elsewhere); len(owners) != 1 {
				t.Error("another namespace was touched")
			}
		})
	}
}

// A Deployment that would scale down what it adopts is in the way, with or without the server; one that has as many
// pods is not, and replaces them as it replaces its own.
func TestDetachIsRefusedWhereADeploymentWouldAdopt(t *testing.T) {
	for _, test := range []struct {
		name     string
		replicas int32
		label    string
		refers   bool
		gone     bool
		refusal  string
	}{
		{"at 0", 0, "demo", true, false, "error: nothing was detached: deployment.apps/web in namespace shop, which is to have 0 pods, would adopt replicaset.apps/demo-new of rollout.sluice.dev/demo and scale its pods down, 5 in all: first 'kubectl sluice migrate --back demo --namespace shop'"},
		{"that the Rollout does not know", 1, "demo", false, false, "first 'kubectl scale deployment web --namespace shop --replicas=5'"},
		{"at 4, without the server", 4, "demo", true, true, "first 'kubectl scale deployment web --namespace shop --replicas=5'"},
		{"with enough", 5, "demo", true, false, ""},
		{"of other pods", 0, "another", false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			rs := replicaSetOf(demo(), "new")
			rs.Labels["app"], rs.Spec.Replicas = "demo", ptr.To[int32](5)
			w := &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: rs.Namespace},
				Spec:       appsv1.DeploymentSpec{Replicas: &test.replicas, Selector: metav1.AddLabelToSelector(&metav1.LabelSelector{}, "app", test.label)},
			}
			r := demo()
			if test.refers {
				r.Spec.WorkloadRef = &v1alpha1.WorkloadRef{APIVersion: "apps/v1", Kind: "Deployment", Name: w.Name}
			}
			b := newBench(r, rs, w)
			if test.gone {
				b.serverGone(apierrors.NewServiceUnavailable("gone"))
			}
			code := b.do(t.Context(), "detach demo")
			if refused := test.refusal != ""; refused != (code != 0) || !strings.Contains(b.errOut.String(), test.refusal) {
				t.Errorf("exit code %d: %s", code, b.errOut)
			}
			if owners := b.owners(t, rs); (len(owners) > 0) != (test.refusal != "") || test.refusal != "" && len(b.deletions()) > 0 {
				t.Errorf("owners %v, deletions %v", owners, b.deletions())
			}
		})
	}
}

func TestDetachEverywhere(t *testing.T) {
	far := demo(func(r *v1alpha1.Rollout) { r.Namespace, r.UID = "edge", "uid-far" })
	near, away := replicaSetOf(demo(), "new"), replicaSetOf(far, "old")
	b := newBench(demo(), far, near, away)
	if code := b.do(t.Context(), "detach --all -A"); code != 0 {
		t.Fatalf("exit code %d: %s", code, b.errOut)
	}
	if len(b.owners(t, near))+len(b.owners(t, away)) != 0 || len(b.deletions()) != 2 {
		t.Errorf("not all was detached: %s", b.out)
	}
}

func TestDetachDoesNotTakeARefusalForAnAbsentServer(t *testing.T) {
	rs := replicaSetOf(demo(), "new")
	b := newBench(rs)
	b.serverGone(apierrors.NewForbidden(v1alpha1.Resource("rollouts"), "", fmt.Errorf("no")))
	if code := b.do(t.Context(), "detach --all"); code != 1 || len(b.owners(t, rs)) != 1 {
		t.Errorf("exit code %d, owners %v", code, b.owners(t, rs))
	}
}

func TestDetachNothing(t *testing.T) {
	newBench().expect(t, "detach --all", 0, "", "No resources found in shop namespace.")
	newBench().expect(t, "detach --all -A", 0, "", "No resources found")
	newBench(replicaSetOf(demo(func(r *v1alpha1.Rollout) { r.Namespace = "edge" }), "new")).expect(t, "detach --all", 0, "",
		"No resources found in shop namespace.\nReplicaSets in other namespaces that belong to Rollouts: 1. Before uninstalling Sluice, run 'kubectl sluice detach --all --all-namespaces'.")
	newBench().expect(t, "detach demo", 1, "", `error: there is no Rollout "demo" in namespace shop, nor a ReplicaSet of it`)
}

// deleting makes deletions leave the Rollout there, as they do until its finalizers are taken off: that of
// the garbage collector, and those of others.
func (b *bench) deleting(t *testing.T, r *v1alpha1.Rollout, others ...string) {
	b.sluice.PrependReactor("delete", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		going := r.DeepCopy()
		now := metav1.Now()
		going.DeletionTimestamp, going.Finalizers = &now, append(others, metav1.FinalizerOrphanDependents)
		if err := b.sluice.Tracker().Update(rolloutsResource, going, r.Namespace); err != nil {
			t.Error(err)
		}
		return true, nil, nil
	})
}

func TestDetachLeavesTheFirstWordToTheGarbageCollector(t *testing.T) {
	r := demo()
	rs := replicaSetOf(r, "new")
	b := newBench(r, rs)
	b.deleting(t, r)
	d := &detachment{cluster: &cluster{namespace: "shop", sluice: b.sluice, kube: b.kube}, scope: detachScope{namespace: "shop"}, grace: time.Hour, interval: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.runDetachment(ctx, d) }()
	await(t, "deletion", func() bool { return len(b.deletions()) == 1 })
	looks := func() int {
		count := 0
		for _, action := range b.kube.Actions() {
			if action.Matches("patch", "replicasets") {
				t.Error("took a reference off that the garbage collector was about to")
			}
			if action.Matches("list", "replicasets") {
				count++
			}
		}
		return count
	}
	await(t, "look at what is left", func() bool { return looks() > 3 })

	free := rs.DeepCopy()
	free.OwnerReferences = nil
	if err := b.kube.Tracker().Update(replicaSetsResource, free, "shop"); err != nil {
		t.Fatal(err)
	}
	freed := looks()
	await(t, "look at whether the Rollout is gone", func() bool { return looks() > freed+3 })
	select {
	case err := <-done:
		t.Fatalf("returned %v before the garbage collector had let go of the Rollout", err)
	default:
	}
	if err := b.sluice.Tracker().Delete(rolloutsResource, "shop", r.Name); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
	const out = "rollout.sluice.dev/demo deleted, its pods are kept\nreplicaset.apps/demo-new detached\n"
	if b.out.String() != out {
		t.Errorf("printed %s", b.out)
	}
	if b.errOut.String() != "" {
		t.Errorf("there is nothing to warn of: %s", b.errOut)
	}
}

func TestDetachDoesNotWaitForEverForTheGarbageCollector(t *testing.T) {
	r := demo()
	rs := replicaSetOf(r, "new")
	b := newBench(r, rs)
	b.deleting(t, r)
	d := &detachment{cluster: &cluster{namespace: "shop", sluice: b.sluice, kube: b.kube}, scope: detachScope{namespace: "shop"}, grace: time.Millisecond, interval: time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := b.runDetachment(ctx, d); err != nil {
		t.Fatal(err)
	}
	if owners := b.owners(t, rs); len(owners) != 0 {
		t.Errorf("still owned: %v", owners)
	}
	const errOut = "rollout.sluice.dev/demo is still being deleted, until the garbage collector lets go of it. Is kube-controller-manager running?\n"
	if b.errOut.String() != errOut {
		t.Errorf("printed %q", b.errOut)
	}
}

func TestDetachDoesNotWaitForFinalizersOfOthers(t *testing.T) {
	r := demo()
	b := newBench(r)
	b.deleting(t, r, "example.com/billing")
	b.expect(t, "detach demo --timeout 0", 0, "rollout.sluice.dev/demo deleted, its pods are kept",
		"rollout.sluice.dev/demo is still being deleted, until its finalizers are taken off: example.com/billing")
}

func TestDetachStripsWhatIsAdoptedAgain(t *testing.T) {
	r := demo()
	rs := replicaSetOf(r, "new")
	b := newBench(r, rs)
	again := false
	b.kube.PrependReactor("list", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if object, err := b.kube.Tracker().Get(replicaSetsResource, "shop", rs.Name); err == nil && len(object.(*appsv1.ReplicaSet).OwnerReferences) == 0 && !again {
			again = true
			if err := b.kube.Tracker().Update(replicaSetsResource, rs, "shop"); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	if code := b.do(t.Context(), "detach demo"); code != 0 || !again || len(b.owners(t, rs)) != 0 {
		t.Errorf("exit code %d, adopted again: %v, owners %v", code, again, b.owners(t, rs))
	}
}

func TestDetachTimeout(t *testing.T) {
	rs := replicaSetOf(demo(), "new")
	b := newBench(demo(), rs)
	b.kube.PrependReactor("patch", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(appsv1.Resource("replicasets"), rs.Name, nil)
	})
	b.expect(t, "detach demo --timeout 200ms", 1, "rollout.sluice.dev/demo deleted, its pods are kept",
		"error: not done after 200ms, ReplicaSets that still refer to Rollouts: 1; run it again, or with a longer --timeout")
}
