// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/engine"
)

// allowed asks the authorizer whether the caller has a right on a Rollout.
func (c *Config) allowed(ctx context.Context, name string, right engine.Right) (bool, error) {
	caller, ok := genericapirequest.UserFrom(ctx)
	if !ok || c.Authorizer == nil {
		return false, nil
	}
	decision, _, err := c.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User:            caller,
		Verb:            right.Verb,
		Namespace:       genericapirequest.NamespaceValue(ctx),
		APIGroup:        rollouts.GroupName,
		APIVersion:      v1alpha1.SchemeGroupVersion.Version,
		Resource:        "rollouts",
		Subresource:     right.Subresource,
		Name:            name,
		ResourceRequest: true,
	})
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return false, nil
}

// mayEdit refuses a change of the spec for which the caller lacks a right.
func (c *Config) mayEdit(ctx context.Context, rollout, stored *rollouts.Rollout) error {
	// What is invalid is refused as that by the strategy, whoever asks: the engine reads valid steps only.
	if isServer(ctx) || len(validation.ValidateRolloutSpec(&rollout.Spec, nil)) > 0 {
		return nil
	}
	return c.needs(ctx, stored.Name, engine.RightsToEdit(stored, rollout))
}

// mayRestate refuses a change of the status for which the caller lacks a right: whoever may write it is a controller
// of sorts, and still nobody whom the steps ask for.
func (c *Config) mayRestate(ctx context.Context, rollout, stored *rollouts.Rollout) error {
	if isServer(ctx) {
		return nil
	}
	return c.needs(ctx, stored.Name, engine.RightsToRestate(stored, rollout))
}

// needs refuses a caller who lacks one of the rights.
func (c *Config) needs(ctx context.Context, name string, rights []engine.NeededRight) error {
	for _, needed := range rights {
		allowed, err := c.allowed(ctx, name, needed.Right)
		if err != nil {
			return err
		}
		if !allowed {
			return forbiddenTo(name, userName(ctx), "RightNeeded", needed.Field, needed.Field+": "+needed.Message, &needed.Right)
		}
	}
	return nil
}

// isServer is true for the server's own requests to itself, which nobody can make from outside: its token
// exists in this process only, and a front proxy that calls itself so and is in system:masters may do
// everything anyway.
func isServer(ctx context.Context) bool {
	caller, ok := genericapirequest.UserFrom(ctx)
	return ok && caller.GetName() == user.APIServerUser && slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup)
}

// admitChange shows the change that a verb makes to the validating admission plugins, as the UPDATE of the
// Rollout that it is.
func (c *call) admitChange(ctx context.Context, changed, current *rollouts.Rollout) error {
	plugins, ok := c.config.Admission.(admission.ValidationInterface)
	if !ok || !plugins.Handles(admission.Update) {
		return nil
	}
	caller, _ := genericapirequest.UserFrom(ctx)
	options := &metav1.UpdateOptions{FieldManager: c.manager}
	if c.dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	attributes := admission.NewAttributesRecord(changed.DeepCopy(), current.DeepCopy(),
		v1alpha1.SchemeGroupVersion.WithKind("Rollout"), current.Namespace, current.Name,
		v1alpha1.SchemeGroupVersion.WithResource("rollouts"), "", admission.Update, options, c.dryRun, caller)
	return plugins.Validate(ctx, attributes, admission.NewObjectInterfacesFromScheme(c.config.Scheme))
}
