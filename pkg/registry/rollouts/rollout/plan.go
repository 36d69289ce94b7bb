// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/planner"
)

// planTimeout bounds what one plan may cost: thousands of pods that are replaced one by one take a while.
const planTimeout = 5 * time.Second

// PlanREST says what will happen to a Rollout: as it is stored, or if it were changed.
type PlanREST struct {
	store  *genericregistry.Store
	config *Config
}

var (
	_ rest.Getter         = &PlanREST{}
	_ rest.NamedCreater   = &PlanREST{}
	_ rest.TableConvertor = &PlanREST{}
)

// New returns an empty plan.
func (*PlanREST) New() runtime.Object { return &rollouts.RolloutPlan{} }

// Destroy does nothing: the store is shared with REST.
func (*PlanREST) Destroy() {}

// Get plans the Rollout as it is stored.
func (r *PlanREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	rollout, snapshot, err := r.inlined(ctx, obj.(*rollouts.Rollout))
	if err != nil {
		return nil, err
	}
	return r.plan(ctx, snapshot, rollout, rollout, rollouts.RolloutPlanSpec{})
}

// Create plans the Rollout as it would be if it were changed as the body says. Nothing is stored. What could not
// be stored is refused as the change itself would be.
func (r *PlanREST) Create(ctx context.Context, name string, obj runtime.Object, createValidation rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	body, ok := obj.(*rollouts.RolloutPlan)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the body of plan must be a RolloutPlan, not a %T", obj))
	}
	if body.Name != "" && body.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name is %q, but the request is for %q", body.Name, name))
	}
	stored, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if createValidation != nil {
		if err := createValidation(ctx, body.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	rollout, snapshot, err := r.inlined(ctx, stored.(*rollouts.Rollout))
	if err != nil {
		return nil, err
	}
	changed, err := r.changed(ctx, rollout, &body.Spec)
	if err != nil {
		return nil, err
	}
	return r.plan(ctx, snapshot, rollout, changed, body.Spec)
}

// inlined is a Rollout as the controller sees it, with a template of its own in place of one that it refers to: a
// changed template in a plan then is what that of the Deployment would be.
func (r *PlanREST) inlined(ctx context.Context, stored *rollouts.Rollout) (*rollouts.Rollout, engine.Snapshot, error) {
	snapshot, err := r.config.observe(ctx, stored)
	if err != nil {
		return nil, snapshot, err
	}
	inlined, err := engine.Inlined(snapshot)
	if err != nil {
		return nil, snapshot, unplannable(stored, err)
	}
	return inlined.Rollout, inlined, nil
}

// changed is a Rollout as an update would store it.
func (r *PlanREST) changed(ctx context.Context, stored *rollouts.Rollout, spec *rollouts.RolloutPlanSpec) (*rollouts.Rollout, error) {
	out := stored.DeepCopy()
	if spec.Template != nil {
		out.Spec.Template = *spec.Template.DeepCopy()
	}
	if spec.Strategy != nil {
		out.Spec.Strategy = *spec.Strategy.DeepCopy()
	}
	if spec.Replicas != nil {
		out.Spec.Replicas = spec.Replicas
	}
	ctx, write := withTemplateWrite(ctx, r.config.Templates)
	if _, err := write.onUpdate(ctx, out, stored); err != nil {
		return nil, err
	}
	if errs := validation.ValidateRolloutUpdate(out, stored); len(errs) > 0 {
		return nil, apierrors.NewInvalid(rollouts.Kind("RolloutPlan"), stored.Name, errs)
	}
	if apiequality.Semantic.DeepEqual(out.Spec, stored.Spec) {
		return stored, nil
	}
	out.Generation++
	return engine.Edited(stored, out, write.resolution, userName(ctx)), nil
}

// plan runs the engine on a Rollout with the ReplicaSets and pods that there are.
func (r *PlanREST) plan(ctx context.Context, snapshot engine.Snapshot, stored, changed *rollouts.Rollout, spec rollouts.RolloutPlanSpec) (*rollouts.RolloutPlan, error) {
	snapshot.Rollout = changed
	bounded, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	status, err := planner.Plan(bounded, snapshot)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, apierrors.NewTimeoutError(fmt.Sprintf("so many pods are replaced one after the other that the plan was not ready after %s: a higher maxSurge makes it shorter", planTimeout), 0)
	case err != nil:
		return nil, apierrors.NewInternalError(err)
	}
	hash := changed.Status.CurrentPodHash
	status.NewRevision = hash != stored.Status.CurrentPodHash && !slices.ContainsFunc(snapshot.ReplicaSets, func(rs *appsv1.ReplicaSet) bool {
		return rs.Labels[rollouts.PodTemplateHashLabel] == hash
	})
	plan := &rollouts.RolloutPlan{Spec: spec, Status: *status}
	identify(&plan.ObjectMeta, stored)
	return plan, nil
}

var planColumns = []metav1.TableColumnDefinition{
	{Name: "Step", Type: "string", Description: "The index of the step in the strategy."},
	{Name: "Action", Type: "string", Description: "What the step does."},
	{Name: "Weight", Type: "integer", Description: "The share of pods of the new revision that is wanted, in percent."},
	{Name: "Stable", Type: "integer", Description: "How many pods of other revisions there are at its end."},
	{Name: "Canary", Type: "integer", Description: "How many pods of the new revision there are at its end."},
	{Name: "Peak", Type: "integer", Description: "How many pods there are at most."},
	{Name: "Wait", Type: "string", Description: "What is waited for."},
}

// ConvertToTable prints a plan, a row for each step. If there is none a row says why: to a table without rows kubectl
// says that there is no such resource.
func (*PlanREST) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	plan, ok := object.(*rollouts.RolloutPlan)
	if !ok {
		return nil, fmt.Errorf("not a RolloutPlan: %T", object)
	}
	result := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: plan.ResourceVersion}, ColumnDefinitions: planColumns}
	row := func(cells ...any) {
		result.Rows = append(result.Rows, metav1.TableRow{Object: runtime.RawExtension{Object: plan}, Cells: cells})
	}
	if len(plan.Status.Steps) == 0 {
		row("-", "None", nil, nil, nil, nil, plan.Status.Message)
	}
	for i := range plan.Status.Steps {
		s := &plan.Status.Steps[i]
		index := "-"
		if s.Index != nil {
			index = fmt.Sprint(*s.Index)
		}
		row(index, string(s.Action), int64(s.Weight), int64(s.StableReplicas), int64(s.CanaryReplicas), int64(s.PeakReplicas), waitCell(s))
	}
	return result, nil
}

// waitCell says what a step waits for.
func waitCell(s *rollouts.PlannedStep) string {
	switch {
	case s.Approval != nil:
		return fmt.Sprintf("approval of %d", ptr.Deref(s.Approval.Required, v1alpha1.DefaultRequiredApprovals))
	case s.UntilPromoted:
		return "promote"
	case s.Duration != nil:
		// Of a pause that is waited in already a part of a second may be left.
		return (s.Duration.Duration + time.Second - 1).Truncate(time.Second).String()
	default:
		return ""
	}
}
