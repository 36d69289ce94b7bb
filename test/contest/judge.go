// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// expectedField is what a refusal names because another promote came first.
const expectedField = "expect.stepIndex"

// judge holds the answers against the promise: exactly one success, which shows the next step; and everybody else is
// told that the step is not the expected one any more. It returns how long the one took.
func judge(step int32, answers []answer) (winner time.Duration, err error) {
	won := 0
	for _, a := range answers {
		if a.err != nil {
			if err := judgeRefusal(a.err); err != nil {
				return 0, err
			}
			continue
		}
		won++
		winner = a.took
		if got := ptr.Deref(a.reply.Status.CurrentStepIndex, -1); got != step+1 {
			return 0, fmt.Errorf("a reply shows step %d, not %d", got, step+1)
		}
	}
	if won != 1 {
		return 0, fmt.Errorf("%d of %d promotes succeeded, not 1", won, len(answers))
	}
	return winner, nil
}

func judgeRefusal(err error) error {
	var refused apierrors.APIStatus
	if !errors.As(err, &refused) || refused.Status().Code != http.StatusConflict {
		return fmt.Errorf("a promote ended neither with success nor with 409: %w", err)
	}
	details := refused.Status().Details
	if details == nil || !slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool { return c.Field == expectedField }) {
		return fmt.Errorf("a refusal does not name %s: %w", expectedField, err)
	}
	return nil
}

// judgeActions holds what is stored against the promise: the round has left one promote, by one step. If the Rollout
// rests at the next step, it must be there.
func judgeActions(r *v1alpha1.Rollout, step int32, reason string, rests bool) error {
	count := 0
	for _, action := range r.Status.Actions {
		if action.Reason != reason {
			continue
		}
		count++
		if from, to := ptr.Deref(action.FromStep, -1), ptr.Deref(action.ToStep, -1); from != step || to != step+1 {
			return fmt.Errorf("the promote that is recorded goes from step %d to %d", from, to)
		}
	}
	if count != 1 {
		return fmt.Errorf("%d promotes are recorded, not 1", count)
	}
	if at := ptr.Deref(r.Status.CurrentStepIndex, -1); at <= step || rests && at != step+1 {
		return fmt.Errorf("the Rollout is at step %d afterwards", at)
	}
	return nil
}
