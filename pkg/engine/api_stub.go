package engine

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// The machine-readable reasons of a Refusal.
const (
	ReasonNothingInFlight      = "NothingInFlight"
	ReasonNotObserved          = "NotObserved"
	ReasonManuallyPaused       = "ManuallyPaused"
	ReasonAborted              = "Aborted"
	ReasonNoStable             = "NoStable"
	ReasonNotAborted           = "NotAborted"
	ReasonAlreadyAborted       = "AlreadyAborted"
	ReasonAlreadyPromotingFull = "AlreadyPromotingFull"
)

// Resolution is what Resolve found a template to be.
type Resolution struct {
	Hash     string
	Revision int64
}

func Decide(s Snapshot) Decision { return Decision{} }

func Promote(r *rollouts.Rollout, full bool, now time.Time) (*rollouts.Rollout, error) {
	return r.DeepCopy(), nil
}
func Abort(r *rollouts.Rollout, now time.Time) (*rollouts.Rollout, error) { return r.DeepCopy(), nil }
func Retry(r *rollouts.Rollout, now time.Time) (*rollouts.Rollout, error) { return r.DeepCopy(), nil }

func Resolve(r *rollouts.Rollout, template *corev1.PodTemplateSpec, rss []*appsv1.ReplicaSet) Resolution {
	return Resolution{}
}
func Created(r *rollouts.Rollout, res Resolution) *rollouts.Rollout        { return r.DeepCopy() }
func Edited(old, new *rollouts.Rollout, res *Resolution) *rollouts.Rollout { return new.DeepCopy() }
func Collide(r *rollouts.Rollout) *rollouts.Rollout                        { return r.DeepCopy() }
func TemplatesEqual(a, b *corev1.PodTemplateSpec) bool                     { return false }
func SetWeight(r *rollouts.Rollout) int32                                  { return 0 }
func PauseDuration(d *intstr.IntOrString) (time.Duration, error)           { return 0, nil }
