// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// hostSeen stands for the caches of the controller: they show the stable pods of newRollout.
type hostSeen struct {
	err      error
	state    engine.ControllerState
	services []*corev1.Service
}

func (h *hostSeen) Observe(_ context.Context, r *rollouts.Rollout) (engine.Snapshot, error) {
	controls := true
	stable := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-blue", Namespace: namespace, UID: "rs-blue",
			Labels:          map[string]string{"app": "web", rollouts.PodTemplateHashLabel: "hash-of-blue"},
			Annotations:     map[string]string{rollouts.RevisionAnnotation: "1", rollouts.DesiredReplicasAnnotation: "5"},
			OwnerReferences: []metav1.OwnerReference{{UID: r.UID, Kind: "Rollout", Name: r.Name, Controller: &controls}},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](5), Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", rollouts.PodTemplateHashLabel: "hash-of-blue"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "blue"}}, RestartPolicy: corev1.RestartPolicyAlways},
		}},
		Status: appsv1.ReplicaSetStatus{Replicas: 5, ReadyReplicas: 5, AvailableReplicas: 5},
	}
	return engine.Snapshot{Rollout: r, ReplicaSets: []*appsv1.ReplicaSet{stable}, Services: h.services, Now: r.CreationTimestamp.Time}, h.err
}

func (h *hostSeen) ReplicaSets(ctx context.Context, r *rollouts.Rollout) ([]*appsv1.ReplicaSet, error) {
	s, err := h.Observe(ctx, r)
	return s.ReplicaSets, err
}

func (h *hostSeen) ControllerState(context.Context) engine.ControllerState { return h.state }

// healthy stores a Rollout that is deployed.
func (f *fixture) healthy(t *testing.T) *rollouts.Rollout {
	t.Helper()
	f.create(t, newRollout())
	return f.setStatus(t, func(r *rollouts.Rollout) {
		r.Status.ObservedGeneration, r.Status.StableRS, r.Status.Phase = r.Generation, r.Status.CurrentPodHash, rollouts.RolloutPhaseHealthy
		r.Status.Replicas, r.Status.UpdatedReplicas, r.Status.ReadyReplicas, r.Status.AvailableReplicas = 5, 5, 5, 5
	})
}

func (f *fixture) plan(spec rollouts.RolloutPlanSpec) (*rollouts.RolloutPlan, error) {
	obj, err := f.Plan.Create(inNamespace(), "web", &rollouts.RolloutPlan{Spec: spec}, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*rollouts.RolloutPlan), nil
}

func TestPlanOfTheStoredRollout(t *testing.T) {
	f := newFixture(t)
	stored := f.healthy(t)
	obj, err := f.Plan.Get(inNamespace(), "web", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan := obj.(*rollouts.RolloutPlan)
	if plan.UID != stored.UID || plan.ResourceVersion != stored.ResourceVersion || len(plan.Status.Steps) != 0 || plan.Status.Message == "" {
		t.Errorf("%+v", plan)
	}
}

func TestPlanOfAChangeStoresNothing(t *testing.T) {
	f := newFixture(t)
	stored := f.healthy(t)
	template := stored.Spec.Template.DeepCopy()
	template.Spec.Containers[0].Image = "red"
	plan, err := f.plan(rollouts.RolloutPlanSpec{Template: template, Replicas: ptr.To[int32](10)})
	if err != nil {
		t.Fatal(err)
	}
	st := plan.Status
	if !st.NewRevision || st.Revision != 2 || len(st.Steps) != len(stored.Spec.Strategy.Canary.Steps)+1 || st.Phase != rollouts.RolloutPhaseHealthy {
		t.Errorf("%+v", st)
	}
	if last := st.Steps[len(st.Steps)-1]; last.CanaryReplicas != 10 || last.StableReplicas != 0 {
		t.Errorf("ends with %+v", last)
	}
	if now := f.get(t); now.ResourceVersion != stored.ResourceVersion {
		t.Error("planning changed the Rollout")
	}
	table, err := f.Plan.ConvertToTable(context.Background(), plan, nil)
	if err != nil || len(table.Rows) != len(st.Steps) || len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
		t.Errorf("%v, %d rows", err, len(table.Rows))
	}
}

func TestPlanOfTheSameIsTheStoredOne(t *testing.T) {
	f := newFixture(t)
	stored := f.healthy(t)
	template := stored.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = "" // As in a manifest: the host's defaults are no change.
	plan, err := f.plan(rollouts.RolloutPlanSpec{Template: template})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Status.NewRevision || plan.Status.Revision != 1 || len(plan.Status.Steps) != 0 {
		t.Errorf("%+v", plan.Status)
	}
}

func TestPlanRefusesWhatCouldNotBeStored(t *testing.T) {
	f := newFixture(t)
	f.healthy(t)
	_, err := f.plan(rollouts.RolloutPlanSpec{Strategy: &rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{Steps: []rollouts.CanaryStep{{SetWeight: ptr.To[int32](101)}}}}})
	var answer apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &answer) || !strings.HasPrefix(answer.Status().Details.Causes[0].Field, "spec.strategy.canary.steps[0]") {
		t.Errorf("got %v", err)
	}
	f.host.err = apierrors.NewInvalid(rollouts.Kind("Rollout"), "web", nil)
	template := newRollout().Spec.Template
	template.Spec.Containers[0].Image = "green"
	if _, err := f.plan(rollouts.RolloutPlanSpec{Template: &template}); !apierrors.IsInvalid(err) {
		t.Errorf("what the host refuses: got %v", err)
	}
	if _, err := f.Plan.Create(inNamespace(), "web", &rollouts.RolloutPlan{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, nil, &metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("another name: got %v", err)
	}
	if _, err := f.Plan.Create(inNamespace(), "none", &rollouts.RolloutPlan{}, nil, &metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("no such Rollout: got %v", err)
	}
}

func TestColdCachesAreServiceUnavailable(t *testing.T) {
	f := newFixture(t)
	f.healthy(t)
	f.seen.err = errors.New("cold")
	for name, read := range map[string]func() (runtime.Object, error){
		"plan":    func() (runtime.Object, error) { return f.Plan.Get(inNamespace(), "web", &metav1.GetOptions{}) },
		"explain": func() (runtime.Object, error) { return f.Explain.Get(inNamespace(), "web", &metav1.GetOptions{}) },
	} {
		_, err := read()
		if seconds, delayed := apierrors.SuggestsClientDelay(err); !apierrors.IsServiceUnavailable(err) || seconds != 1 && delayed {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExplain(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	explain := func() *rollouts.RolloutExplanation {
		obj, err := f.Explain.Get(inNamespace(), "web", &metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return obj.(*rollouts.RolloutExplanation)
	}
	f.seen.state.Acting = true
	got := explain()
	if len(got.Status.Blockers) != 1 || got.Status.Blockers[0].Code != rollouts.BlockerPaused || got.Status.Phase != rollouts.RolloutPhasePaused {
		t.Errorf("%+v", got.Status)
	}
	f.seen.state = engine.ControllerState{Message: "nobody leads"}
	got = explain()
	if len(got.Status.Blockers) != 2 || got.Status.Blockers[0].Code != rollouts.BlockerControllerStopped {
		t.Errorf("%+v", got.Status)
	}
	table, err := f.Explain.ConvertToTable(context.Background(), got, nil)
	if err != nil || len(table.Rows) != 2 || len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
		t.Errorf("%v, %+v", err, table)
	}
}

// To a table without rows kubectl says that there is no such resource, so there is a row for nothing.
func TestTablesOfNothing(t *testing.T) {
	st := rollouts.RolloutExplanationStatus{Phase: rollouts.RolloutPhaseProgressing, Message: "more replicas need to be updated"}
	table, err := (&ExplainREST{}).ConvertToTable(context.Background(), &rollouts.RolloutExplanation{Status: st}, nil)
	if want := "nothing blocks it: it is Progressing (more replicas need to be updated) and moves on by itself"; err != nil || len(table.Rows) != 1 || table.Rows[0].Cells[2] != want {
		t.Errorf("explain: %v, %+v", err, table)
	}
	plan := &rollouts.RolloutPlan{Status: rollouts.RolloutPlanStatus{Message: "nothing to do: revision 1 is Healthy"}}
	table, err = (&PlanREST{}).ConvertToTable(context.Background(), plan, nil)
	if err != nil || len(table.Rows) != 1 || len(table.Rows[0].Cells) != len(planColumns) || table.Rows[0].Cells[len(planColumns)-1] != plan.Status.Message {
		t.Errorf("plan: %v, %+v", err, table)
	}
}
