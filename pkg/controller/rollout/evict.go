// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
)

// evict asks the host to evict pods, one after the other, and stops where it refuses: that is nobody's
// failure, and what the Rollout shows of it is for the engine to decide, which is asked at once.
func (t *term) evict(ctx context.Context, seen *observation, page *entry, pods []engine.PodRef) error {
	for _, ref := range pods {
		hostWrites.WithLabelValues("create", "pods/eviction").Inc()
		err := t.config.Host.CoreV1().Pods(seen.served.Namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: seen.served.Namespace, Name: ref.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ref.UID}},
		})
		switch {
		case err == nil:
			page.wroteToHost(t.config.Clock.Now(), "evicted pod %s", ref.Name)
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// It is gone already, or another of that name has taken its place.
		case refusesEviction(err):
			page.evictionRefused, page.refusedAt = fmt.Sprintf("pod %q cannot be evicted: %s", ref.Name, reasons(err)), t.config.Clock.Now()
			klog.FromContext(ctx).V(2).Info("Trying again later: the host cluster refuses an eviction", "pod", ref.Name, "reason", err)
			t.queue.Add(types.NamespacedName{Namespace: seen.served.Namespace, Name: seen.served.Name})
			return nil
		default:
			return fmt.Errorf("evicting pod %q: %w", ref.Name, err)
		}
	}
	return nil
}

// refusesEviction is true for what asking again at once would not change: a budget that is used up, budgets that
// overlap (which is answered as an internal error), a policy, a missing right.
func refusesEviction(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsForbidden(err) ||
		apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// reasons is an error with the causes that name the budget.
func reasons(err error) string {
	text := err.Error()
	if cause, ok := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause); ok && cause.Message != "" {
		text += " (" + cause.Message + ")"
	}
	return text
}

// refusedEviction is why the last eviction was refused; empty once another may be tried.
func (e *entry) refusedEviction(now time.Time) string {
	if now.Sub(e.refusedAt) >= engine.EvictAgainAfter {
		e.evictionRefused = ""
	}
	return e.evictionRefused
}
