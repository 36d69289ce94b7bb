// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// The limits of an approval. Nobody can wait for more people than these, and no object should grow with them.
const (
	maxRequired  = 20
	maxGroups    = 20
	maxGroupName = 253
)

func validatePause(pause *rollouts.RolloutPause, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, err := engine.PauseDuration(pause.Duration); err != nil {
		errs = append(errs, field.Invalid(path.Child("duration"), pause.Duration.String(), err.Error()))
	}
	if pause.Approval == nil {
		return errs
	}
	if pause.Duration != nil {
		errs = append(errs, field.Forbidden(path.Child("duration"), "a pause that asks for approval ends when it is given: leave duration out, or approval"))
	}
	return append(errs, validateApproval(pause.Approval, path.Child("approval"))...)
}

func validateApproval(approval *rollouts.PauseApproval, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if required := approval.Required; required != nil && (*required < 1 || *required > maxRequired) {
		errs = append(errs, field.Invalid(path.Child("required"), *required, validation.InclusiveRangeError(1, maxRequired)))
	}
	if len(approval.Groups) > maxGroups {
		errs = append(errs, field.TooMany(path.Child("groups"), len(approval.Groups), maxGroups))
	}
	seen := map[string]bool{}
	for i, group := range approval.Groups {
		at := path.Child("groups").Index(i)
		switch {
		case group == "":
			errs = append(errs, field.Required(at, "must be the name of a group, as release-managers"))
		case len(group) > maxGroupName:
			errs = append(errs, field.TooLong(at, group, maxGroupName))
		case seen[group]:
			errs = append(errs, field.Duplicate(at, group))
		}
		seen[group] = true
	}
	if approval.ExpireAfter != nil {
		length, err := engine.PauseDuration(approval.ExpireAfter)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(path.Child("expireAfter"), approval.ExpireAfter.String(), err.Error()))
		case length == 0:
			errs = append(errs, field.Invalid(path.Child("expireAfter"), approval.ExpireAfter.String(), "must be more than 0, or no approval would ever count; leave it out for approvals that do not expire"))
		}
	}
	return errs
}
