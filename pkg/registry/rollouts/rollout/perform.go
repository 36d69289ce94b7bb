// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/engine"
)

// request is what a POST, a PUT and a PATCH differ in.
type request struct {
	// body is what the caller sent, given what is stored.
	body func(current *rollouts.Rollout) (rollouts.VerbBody, error)
	// admit shows it to the validating admission plugins, as a call of the subresource.
	admit func(current *rollouts.Rollout) error
}

// call is one call of a verb on its way.
type call struct {
	*VerbREST
	name    string
	dryRun  bool
	manager string
	body    rollouts.VerbBody
	// actor is who calls, with the rights that the authorizer was asked for.
	actor engine.Actor
	// replicaSets are those of the Rollout, if the verb needs them.
	replicaSets []*appsv1.ReplicaSet
	// action is who, when and why; what came about is not in it yet.
	action rollouts.RolloutAction
	// shown is what came about when it was shown to policies.
	shown rollouts.RolloutAction
}

// errRepeated ends a transaction that turns out to have been done before.
type errRepeated struct {
	rollout *rollouts.Rollout
	action  *rollouts.RolloutAction
}

// Error makes it an error.
func (errRepeated) Error() string { return "this request was performed before" }

// perform runs the transition of the verb on the stored Rollout. The body, and with it admission, is asked
// for once, on a fresh read. A conflict with the controller's own writes is then retried, while one with
// anybody else's is answered, since the caller did not mean the state that it led to.
func (r *VerbREST) perform(ctx context.Context, name string, dryRun []string, manager string, request request) (runtime.Object, error) {
	answer, result, err := r.performed(ctx, name, dryRun, manager, request)
	if err != nil {
		result = resultOf(err)
	}
	verbCalls.WithLabelValues(r.verb.name, result).Inc()
	return answer, err
}

// performed does that, and says what the call is to be counted under unless it failed.
func (r *VerbREST) performed(ctx context.Context, name string, dryRun []string, manager string, request request) (_ runtime.Object, result string, err error) {
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, "", err
	}
	first := obj.(*rollouts.Rollout)
	c := &call{VerbREST: r, name: name, dryRun: dryrun.IsDryRun(dryRun), manager: manager, actor: actorFrom(ctx)}
	if c.body, err = request.body(first); err != nil {
		return nil, "", err
	}
	if err := c.valid(); err != nil {
		return nil, "", err
	}
	if c.action, err = c.newAction(ctx); err != nil {
		return nil, "", err
	}
	stored, err := c.perform(ctx, first, request.admit)
	var repeated errRepeated
	if errors.As(err, &repeated) {
		noteRepeated(ctx)
		return answer(r.verb.newBody(), repeated.rollout, repeated.action), resultRepeated, nil
	}
	if err != nil {
		return nil, "", err
	}
	action := &stored.Status.Actions[len(stored.Status.Actions)-1]
	if !c.dryRun && r.config.Performed != nil {
		r.config.Performed(stored, action)
	}
	return answer(r.verb.newBody(), stored, action), resultOfAction(c.dryRun, action), nil
}

// valid refuses a body that no Rollout could be asked with.
func (c *call) valid() error {
	if c.body.GetName() != c.name {
		return apierrors.NewBadRequest(fmt.Sprintf("metadata.name is %q, but the request is for %q", c.body.GetName(), c.name))
	}
	if errs := validation.ValidateVerb(c.body); len(errs) > 0 {
		return apierrors.NewInvalid(rollouts.Kind(kindOf(c.body)), c.name, errs)
	}
	return nil
}

func (c *call) perform(ctx context.Context, first *rollouts.Rollout, admit func(*rollouts.Rollout) error) (*rollouts.Rollout, error) {
	if err := c.check(first); err != nil {
		return nil, err
	}
	if err := admit(first); err != nil {
		return nil, err
	}
	if c.verb.needsReplicaSets {
		var err error
		if c.replicaSets, err = c.config.Revisions.ReplicaSets(ctx, first); err != nil {
			return nil, err
		}
	}
	changed, err := c.actWithRights(ctx, first)
	if err != nil {
		return nil, err
	}
	// What nobody may stand in the way of is shown to policies as a call only, not as a change.
	if !c.verb.absolute {
		c.shown = newestAction(changed)
		if err := c.admitChange(ctx, changed, first); err != nil {
			return nil, err
		}
	}
	return c.commit(ctx, first)
}

// check holds a Rollout that is about to be changed against what the caller expects of it.
func (c *call) check(current *rollouts.Rollout) error {
	if current.DeletionTimestamp != nil {
		return c.refused(current, &engine.Refusal{Reason: reasonBeingDeleted, Message: "the rollout is being deleted"})
	}
	action, err := engine.Repeated(current, c.verb.name, c.action.User, c.action.RequestID, c.action.BodyDigest)
	switch {
	case err != nil:
		return c.refused(current, err)
	case action != nil:
		return errRepeated{current, action}
	}
	return c.unmet(current)
}

// actWithRights runs the transition, asking the authorizer for each right that the engine says is missing.
func (c *call) actWithRights(ctx context.Context, current *rollouts.Rollout) (*rollouts.Rollout, error) {
	for {
		changed, err := c.act(current)
		var forbidden *engine.Forbidden
		if !errors.As(err, &forbidden) || forbidden.Missing == nil || slices.Contains(c.actor.Rights, *forbidden.Missing) {
			return changed, c.refusedOrNil(current, err)
		}
		allowed, authorizeErr := c.config.allowed(ctx, c.name, *forbidden.Missing)
		if authorizeErr != nil {
			return nil, authorizeErr
		}
		if !allowed {
			return nil, c.refused(current, err)
		}
		c.actor.Rights = append(c.actor.Rights, *forbidden.Missing)
	}
}

// act runs the transition and records it. A change of the spec is counted and owned as any other. The time is that of
// the very attempt: admission may take a while, and what expires meanwhile must not count.
func (c *call) act(current *rollouts.Rollout) (*rollouts.Rollout, error) {
	c.action.Time = metav1.NewMicroTime(c.config.Clock.Now())
	t, err := c.verb.act(transition{rollout: current, replicaSets: c.replicaSets, body: c.body, actor: c.actor, now: c.action.Time.Time})
	if err != nil {
		return nil, err
	}
	changed := engine.Record(current, t, c.action)
	if apiequality.Semantic.DeepEqual(changed.Spec, current.Spec) {
		return changed, nil
	}
	changed.Generation = current.Generation + 1
	if errs := validation.ValidateRolloutUpdate(changed, current); len(errs) > 0 {
		return nil, apierrors.NewInvalid(rollouts.Kind("Rollout"), c.name, errs)
	}
	return c.owners.changed(current, changed, c.manager)
}

// asShown is true if the verb leads to what policies were shown. Somebody else's approval at the same time may make
// one that only counts one that ends the step, which nobody has admitted.
func (c *call) asShown(changed *rollouts.Rollout) bool {
	a := newestAction(changed)
	return c.verb.absolute || a.Outcome == c.shown.Outcome && ptr.Equal(a.ToStep, c.shown.ToStep)
}

// newestAction is what was recorded last: something is, whenever a verb was performed.
func newestAction(r *rollouts.Rollout) rollouts.RolloutAction {
	return r.Status.Actions[len(r.Status.Actions)-1]
}

// commit does what was admitted, unless the Rollout is not any more what that was admitted for.
func (c *call) commit(ctx context.Context, first *rollouts.Rollout) (*rollouts.Rollout, error) {
	key, err := c.store.KeyFunc(ctx, c.name)
	if err != nil {
		return nil, err
	}
	stored := &rollouts.Rollout{}
	err = c.store.Storage.GuaranteedUpdate(ctx, key, stored, false, nil, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		current := obj.(*rollouts.Rollout)
		if (storage.APIObjectVersioner{}).CompareResourceVersion(current, first) < 0 {
			// The store tries its cache first, and asks again when that turns out to be behind.
			return nil, c.conflict(current, metav1.StatusCause{Message: "the cache is behind the store"})
		}
		if err := c.check(current); err != nil {
			return nil, err
		}
		if !c.verb.absolute && !engine.SameState(first, current) {
			return nil, c.overtaken(current)
		}
		changed, err := c.act(current)
		if err == nil && !c.asShown(changed) {
			return nil, c.overtaken(current)
		}
		if err == nil && !c.dryRun && c.config.Writing != nil {
			c.config.Writing(ctx, changed)
		}
		return changed, c.refusedOrNil(current, err)
	}), c.dryRun, nil)
	if err != nil {
		err = storeerrors.InterpretGetError(err, rollouts.Resource("rollouts"), c.name)
		return nil, storeerrors.InterpretUpdateError(err, rollouts.Resource("rollouts"), c.name)
	}
	return stored, nil
}

func actorFrom(ctx context.Context) engine.Actor {
	if user, ok := genericapirequest.UserFrom(ctx); ok {
		return engine.Actor{Name: user.GetName(), Groups: user.GetGroups()}
	}
	return engine.Actor{}
}
