// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// workload is the Deployment that a Rollout refers to, and whether that is known: while the caches are not warm it is
// not.
func workload(ctx context.Context, observer Observer, rollout *rollouts.Rollout) (*appsv1.Deployment, bool) {
	if rollout.Spec.WorkloadRef == nil || observer == nil {
		return nil, false
	}
	snapshot, err := observer.Observe(ctx, rollout)
	return snapshot.Workload, err == nil
}

// workloadWarnings warn of a Deployment that a Rollout will wait for. That is no error: it may well be applied after
// the Rollout.
func (s strategy) workloadWarnings(ctx context.Context, rollout *rollouts.Rollout) []string {
	if found, known := workload(ctx, s.observer, rollout); !known || found != nil {
		return nil
	}
	return []string{fmt.Sprintf("spec.workloadRef.name: Deployment %q does not exist in namespace %q yet; the rollout waits for it", rollout.Spec.WorkloadRef.Name, rollout.Namespace)}
}

// Delete deletes a Rollout. It warns of one whose Deployment has no pods to take over from those that go with it
// (reference section 7.15): who deletes both means it, so it is not refused.
func (r *REST) Delete(ctx context.Context, name string, deleteValidation rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if obj, err := r.Get(ctx, name, &metav1.GetOptions{}); err == nil {
		rollout := obj.(*rollouts.Rollout)
		if found, known := workload(ctx, r.config.Observer, rollout); known && found != nil && ptr.Deref(found.Spec.Replicas, 1) == 0 {
			warning.AddWarning(ctx, "", fmt.Sprintf("Deployment %q is scaled to 0, so %s; kubectl sluice migrate --back %s -n %s hands them over first",
				found.Name, afterDeletion(options), name, rollout.Namespace))
		}
	}
	return r.Store.Delete(ctx, name, deleteValidation, options)
}

// afterDeletion says what becomes of the pods: a Deployment adopts ReplicaSets without an owner.
func afterDeletion(options *metav1.DeleteOptions) string {
	if options != nil && (ptr.Deref(options.PropagationPolicy, "") == metav1.DeletePropagationOrphan || ptr.Deref(options.OrphanDependents, false)) {
		return "it adopts the pods of this rollout, which are without an owner then, and scales them down"
	}
	return "nothing runs once the pods of this rollout are gone"
}

// unplannable is 409: what the Rollout takes its template from cannot be used.
func unplannable(stored *rollouts.Rollout, err error) error {
	var refusal *engine.Refusal
	if !errors.As(err, &refusal) {
		return apierrors.NewInternalError(err)
	}
	answer := apierrors.NewConflict(rollouts.Resource("rollouts/plan"), stored.Name, err)
	answer.ErrStatus.Details.UID = stored.UID
	answer.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseType(refusal.Reason), Message: refusal.Message}}
	return answer
}
