// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func TestResultsOfCalls(t *testing.T) {
	resource := rollouts.Resource("rollouts")
	for want, err := range map[string]error{
		resultConflict:  apierrors.NewConflict(resource, "demo", errors.New("paused")),
		resultForbidden: apierrors.NewForbidden(resource, "demo", errors.New("an approval is missing")),
		resultInvalid:   apierrors.NewInvalid(rollouts.Kind("Promotion"), "demo", nil),
		resultNotFound:  apierrors.NewNotFound(resource, "demo"),
		resultError:     apierrors.NewTimeoutError("the host does not answer", 1),
	} {
		if got := resultOf(err); got != want {
			t.Errorf("%v is counted under %s, want %s", err, got, want)
		}
	}
	if got := resultOf(errors.New("no answer")); got != resultError {
		t.Errorf("an error without a status is counted under %s", got)
	}
	approved := &rollouts.RolloutAction{Outcome: rollouts.ActionApproved}
	if got := resultOfAction(false, approved); got != "approved" {
		t.Errorf("an approval is counted under %s", got)
	}
	if got := resultOfAction(true, approved); got != resultDryRun {
		t.Errorf("a dry run is counted under %s", got)
	}
}
