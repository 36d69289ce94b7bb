// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// hinted is an error with what to do about it.
type hinted struct {
	err  error
	hint string
}

// Error is the error itself.
func (h *hinted) Error() string { return h.err.Error() }

// Unwrap is the error itself.
func (h *hinted) Unwrap() error { return h.err }

// explained says an error in the lines that a person should read: what failed as kubectl says it, the
// machine-readable causes, and what to do where that is known.
func explained(err error) []string {
	lines := explainError(err)
	var advice *hinted
	if errors.As(err, &advice) {
		lines = append(lines, advice.hint)
	}
	return lines
}

func explainError(err error) []string {
	var answer apierrors.APIStatus
	var unreachable *url.Error
	switch {
	case clientcmd.IsEmptyConfig(err):
		return []string{"error: no cluster is configured: set KUBECONFIG, or give --kubeconfig or --server"}
	case errors.As(err, &answer):
		return explainAnswer(err, answer.Status())
	case errors.As(err, &unreachable):
		return []string{fmt.Sprintf("Unable to connect to the server: %v", unreachable.Err)}
	}
	return []string{"error: " + err.Error()}
}

// explainAnswer prints the refusal of a server.
func explainAnswer(err error, status metav1.Status) []string {
	if groupMissing(err) {
		return []string{
			"error: this cluster does not serve rollouts.sluice.dev",
			"Is Sluice installed? 'kubectl get apiservice v1alpha1.sluice.dev' tells.",
		}
	}
	reason := ""
	if status.Reason != metav1.StatusReasonUnknown {
		reason = fmt.Sprintf(" (%s)", status.Reason)
	}
	lines := []string{fmt.Sprintf("Error from server%s: %s", reason, err.Error())}
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			if line := causeLine(cause, err.Error()); line != "" {
				lines = append(lines, line)
			}
		}
		if seconds := status.Details.RetryAfterSeconds; seconds > 0 {
			lines = append(lines, fmt.Sprintf("Try again in %d s.", seconds))
		}
	}
	// A server that is there says itself why it does not answer.
	if apierrors.IsServiceUnavailable(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		lines = append(lines, "'kubectl describe apiservice v1alpha1.sluice.dev' tells whether the server of Sluice is there.")
	}
	return lines
}

// causeLine prints a cause, but not again what the message already says. The causes that admission policies
// give have no type, and often nothing but a part of the message.
func causeLine(cause metav1.StatusCause, said string) string {
	message := cause.Message
	if strings.Contains(said, message) {
		message = ""
	}
	if cause.Type == metav1.CauseTypeUnexpectedServerResponse || isFieldError(cause.Type) || cause.Type == "" && message == "" {
		return ""
	}
	parts := []string{string(cause.Type), cause.Field, message}
	return "  cause: " + strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
}

// isFieldError says whether a cause is a field error, which the message of an Invalid repeats.
func isFieldError(cause metav1.CauseType) bool {
	return strings.HasPrefix(string(cause), "FieldValue")
}
