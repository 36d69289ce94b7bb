// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// names are so many different names of groups.
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("group-%d", i))
	}
	return all
}

func TestValidateApproval(t *testing.T) {
	const at = "spec.strategy.canary.steps[0].pause"
	for _, test := range []struct {
		rule  string
		pause rollouts.RolloutPause
		// fields are those of the errors, in order; none if it is valid.
		fields []string
	}{
		{"everything left to its default", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{}}, nil},
		{"everything said", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: ptr.To[int32](20), Groups: names(20), NotAuthor: ptr.To(false), ExpireAfter: ptr.To(intstr.FromString("24h"))}}, nil},
		{"a duration as well", rollouts.RolloutPause{Duration: ptr.To(intstr.FromInt32(1)), Approval: &rollouts.PauseApproval{}}, []string{at + ".duration"}},
		{"a duration of 0 as well", rollouts.RolloutPause{Duration: ptr.To(intstr.FromInt32(0)), Approval: &rollouts.PauseApproval{}}, []string{at + ".duration"}},
		{"nobody", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: ptr.To[int32](0)}}, []string{at + ".approval.required"}},
		{"fewer than nobody", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: ptr.To[int32](-1)}}, []string{at + ".approval.required"}},
		{"more people than can be kept", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Required: ptr.To[int32](21)}}, []string{at + ".approval.required"}},
		{"more groups than can be kept", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Groups: names(21)}}, []string{at + ".approval.groups"}},
		{"a group without a name", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Groups: []string{"a", ""}}}, []string{at + ".approval.groups[1]"}},
		{"a group twice", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Groups: []string{"a", "a"}}}, []string{at + ".approval.groups[1]"}},
		{"a name without an end", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{Groups: []string{strings.Repeat("g", 254)}}}, []string{at + ".approval.groups[0]"}},
		{"expires at once", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{ExpireAfter: ptr.To(intstr.FromString("0s"))}}, []string{at + ".approval.expireAfter"}},
		{"expired before", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{ExpireAfter: ptr.To(intstr.FromInt32(-1))}}, []string{at + ".approval.expireAfter"}},
		{"expires some time", rollouts.RolloutPause{Approval: &rollouts.PauseApproval{ExpireAfter: ptr.To(intstr.FromString("soon"))}}, []string{at + ".approval.expireAfter"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			rollout := validRollout()
			rollout.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{{Pause: &test.pause}}
			var fields []string
			for _, err := range ValidateRollout(rollout) {
				fields = append(fields, err.Field)
			}
			if strings.Join(fields, " ") != strings.Join(test.fields, " ") {
				t.Errorf("errors for %v, want %v", fields, test.fields)
			}
		})
	}
}
