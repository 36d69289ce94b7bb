// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// What a caller may have remembered in the object is bounded, and cannot be made to look like something else.
func TestValidateVerb(t *testing.T) {
	request := func(change func(*rollouts.VerbRequest)) rollouts.VerbBody {
		body := &rollouts.Promotion{}
		change(&body.VerbRequest)
		return body
	}
	for _, test := range []struct {
		rule string
		body rollouts.VerbBody
		// field is that of the error; empty if it is valid.
		field string
	}{
		{"nothing said", &rollouts.Promotion{}, ""},
		{"a reason of 1,024 characters, each of several bytes", request(func(r *rollouts.VerbRequest) { r.Reason = strings.Repeat("é", 1024) }), ""},
		{"a reason of one more", request(func(r *rollouts.VerbRequest) { r.Reason = strings.Repeat("e", 1025) }), "reason"},
		{"a requestID of 64 characters", request(func(r *rollouts.VerbRequest) { r.RequestID = strings.Repeat("i", 64) }), ""},
		{"a requestID of one more", request(func(r *rollouts.VerbRequest) { r.RequestID = strings.Repeat("i", 65) }), "requestID"},
		{"a requestID with a line feed", request(func(r *rollouts.VerbRequest) { r.RequestID = "a\nb" }), "requestID"},
		{"a requestID that looks like another", request(func(r *rollouts.VerbRequest) { r.RequestID = "аbc" }), "requestID"},
		{"a revision that never is", request(func(r *rollouts.VerbRequest) { r.Expect.Revision = ptr.To[int64](-1) }), "expect.revision"},
		{"a step that never is", request(func(r *rollouts.VerbRequest) { r.Expect.StepIndex = ptr.To[int32](-1) }), "expect.stepIndex"},
		{"back to a revision that never was", &rollouts.Undo{ToRevision: -1}, "toRevision"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			errs := ValidateVerb(test.body)
			if (test.field == "") != (len(errs) == 0) || test.field != "" && errs[0].Field != test.field {
				t.Errorf("got %v, want an error for %q", errs, test.field)
			}
		})
	}
}
