// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"strings"
	"unicode"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// The limits of what a caller may have remembered with an action.
const (
	maxReason    = 1024
	maxRequestID = 64
)

// ValidateVerb validates the body of a verb.
func ValidateVerb(body rollouts.VerbBody) field.ErrorList {
	var errs field.ErrorList
	request := body.Request()
	if length := len([]rune(request.Reason)); length > maxReason {
		errs = append(errs, field.TooLongMaxLength(field.NewPath("reason"), length, maxReason))
	}
	switch id := request.RequestID; {
	case len(id) > maxRequestID:
		errs = append(errs, field.TooLong(field.NewPath("requestID"), id, maxRequestID))
	case strings.ContainsFunc(id, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) }):
		errs = append(errs, field.Invalid(field.NewPath("requestID"), id, "must be of printable ASCII characters, as a UUID is"))
	}
	expect := field.NewPath("expect")
	if revision := request.Expect.Revision; revision != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(*revision, expect.Child("revision"))...)
	}
	if index := request.Expect.StepIndex; index != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(*index), expect.Child("stepIndex"))...)
	}
	if undo, ok := body.(*rollouts.Undo); ok {
		errs = append(errs, apivalidation.ValidateNonnegativeField(undo.ToRevision, field.NewPath("toRevision"))...)
	}
	return errs
}
