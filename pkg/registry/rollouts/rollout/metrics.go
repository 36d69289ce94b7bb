// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

var verbCalls = metrics.NewCounterVec(&metrics.CounterOpts{
	Subsystem: "sluice",
	Name:      "verb_calls_total",
	Help: "Number of calls of a verb that the caller had the right to make, by verb and result: done, approved or overridden, as the action says; " +
		"repeated, if the requestID was performed before; dry_run; conflict, if the state did not allow it or was not the expected one; " +
		"forbidden, by approvals or a policy; invalid, if the body was; not_found; error.",
	StabilityLevel: metrics.ALPHA,
}, []string{"verb", "result"})

// registerMetrics registers the metrics of this package, once per process.
var registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(verbCalls) })

// The results of a call that no action has as its outcome.
const (
	resultRepeated  = "repeated"
	resultDryRun    = "dry_run"
	resultConflict  = "conflict"
	resultForbidden = "forbidden"
	resultInvalid   = "invalid"
	resultNotFound  = "not_found"
	resultError     = "error"
)

// resultOf is what a call is counted under that ended with an error.
func resultOf(err error) string {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		return resultError
	}
	switch code := status.Status().Code; code {
	case http.StatusConflict:
		return resultConflict
	case http.StatusForbidden:
		return resultForbidden
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return resultInvalid
	case http.StatusNotFound:
		return resultNotFound
	}
	return resultError
}

// resultOfAction is what a call is counted under that an action came of.
func resultOfAction(dryRun bool, action *rollouts.RolloutAction) string {
	if dryRun {
		return resultDryRun
	}
	return string(action.Outcome)
}
