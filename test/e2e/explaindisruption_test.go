// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// explainWithoutController takes the Lease away, as a process does that died with it. The server answers as before,
// and says that nobody acts.
func explainWithoutController(s *scenario) {
	r := s.pausedUpdate("unattended")
	s.holdLease("stranger", time.Hour)
	s.Cleanup(func() { s.holdLease("", 0) })
	stopped := s.blocked(r.Name, v1alpha1.BlockerControllerStopped,
		"no controller acts on rollouts", "the Lease sluice-controller in namespace sluice-system", `last renewed by "stranger"`, "look at its pods and logs")
	if ago := time.Since(stopped.Since.Time); ago < time.Hour-clockSkew || ago > time.Hour+limit || stopped.Next != "" {
		s.Errorf("stopped since %v, next is %q", stopped.Since, stopped.Next)
	}
	s.blockedInOrder(r.Name, []v1alpha1.BlockerCode{v1alpha1.BlockerControllerStopped, v1alpha1.BlockerPaused})
	s.printed(r.Name, stopped)

	changed := s.setTag(r.Name, "three")
	s.blocked(r.Name, v1alpha1.BlockerNotObserved, "has not taken up the last change of the spec", "generation 3, observed 2")
	s.blockedInOrder(r.Name, []v1alpha1.BlockerCode{v1alpha1.BlockerControllerStopped, v1alpha1.BlockerNotObserved})
	if changed.Status.ObservedGeneration != 2 {
		s.Errorf("somebody acts: generation %d is observed", changed.Status.ObservedGeneration)
	}
	plan, err := s.rollouts().GetPlan(s.ctx(), r.Name, metav1.GetOptions{})
	s.must(err)
	if len(plan.Status.Steps) != 7 || plan.Status.Revision != 3 {
		s.Errorf("the plan without a controller: %+v", plan.Status)
	}

	s.holdLease("", 0)
	s.stage(r.Name, cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 50, Pods: map[string]int{"one": 1, "three": 1}})
	s.blockedInOrder(r.Name, []v1alpha1.BlockerCode{v1alpha1.BlockerPaused})
}

// holdLease writes somebody into the Lease of the controller, who has renewed it that long ago; nobody if the name is
// empty. Whoever leads loses it, and nobody takes it while that holds.
func (s *scenario) holdLease(name string, ago time.Duration) {
	s.Helper()
	ctx := context.WithoutCancel(s.Context())
	leases := s.Host.CoordinationV1().Leases("sluice-system")
	s.must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lease, err := leases.Get(ctx, "sluice-controller", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if name == "" && ptr.Deref(lease.Spec.HolderIdentity, "") != "stranger" {
			return nil
		}
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &name, ptr.To[int32](600)
		lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(time.Now().Add(-ago)))
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	}))
}
