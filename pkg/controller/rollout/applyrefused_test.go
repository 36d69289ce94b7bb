// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// quotaExceeded lets the host refuse to create ReplicaSets as long as the returned value is true.
func (w *world) quotaExceeded() *atomic.Bool {
	var exceeded atomic.Bool
	exceeded.Store(true)
	w.host.PrependReactor("create", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if exceeded.Load() {
			return true, nil, apierrors.NewForbidden(replicaSetResource, "demo-abc", errors.New("exceeded quota: two"))
		}
		return false, nil, nil
	})
	return &exceeded
}

// deploy is an engine that creates the ReplicaSet of the current hash if there is none.
func deploy(s engine.Snapshot) (d engine.Decision) {
	served := testRollout(s.Rollout.Name)
	served.UID, served.Namespace = s.Rollout.UID, s.Rollout.Namespace
	wanted := testReplicaSet(served, s.Rollout.Status.CurrentPodHash, 2)
	for _, rs := range s.ReplicaSets {
		if rs.Name != wanted.Name || !engine.TemplatesEqual(&rs.Spec.Template, &wanted.Spec.Template) {
			continue
		}
		if metav1.GetControllerOf(rs) == nil {
			d.Adopt = append(d.Adopt, refTo(rs))
		}
		if slices.ContainsFunc(s.Rollout.Status.Conditions, isReplicaFailure) {
			d.Status = s.Rollout.Status.DeepCopy()
			d.Status.Conditions, d.Status.Message = nil, ""
		}
		return d
	}
	d.Create = wanted
	return d
}

func TestARefusalIsShownOnceAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	exceeded := w.quotaExceeded()
	w.addRollout("demo")
	w.forgetActions()
	w.start(deploy)
	eventually(t, "it was tried five times", func() bool { return w.count("create replicasets") >= 5 })
	if got := w.count("update rollouts/status"); got != 1 {
		t.Errorf("the same refusal was written %d times, want once", got)
	}
	status := w.rollout("demo").Status
	if !strings.Contains(status.Message, `ReplicaSet "demo-abc" cannot be created`) || !strings.Contains(status.Message, "exceeded quota: two") {
		t.Errorf("the Rollout must show what the host says, but its message is %q", status.Message)
	}
	if len(status.Conditions) != 1 || string(status.Conditions[0].Type) != string(rollouts.RolloutReplicaFailure) || status.Conditions[0].Reason != "ReplicaSetCreateError" {
		t.Errorf("want the condition ReplicaFailure, got %v", status.Conditions)
	}
	eventually(t, "an event says so", func() bool { return len(w.events(t)) == 1 })

	exceeded.Store(false)
	eventually(t, "it is created when it may be", func() bool { return w.liveSize("demo-abc") == 2 })
	eventually(t, "the condition is gone", func() bool { return len(w.rollout("demo").Status.Conditions) == 0 })
}

func TestNoReplicaSetIsCreatedBeforeTheStoreIsMarked(t *testing.T) {
	w := newWorld(t)
	r := w.addRollout("demo")
	var marks, failing atomic.Int32
	var wrong atomic.Bool
	w.start(deploy, func(c *Config) {
		c.EnsureMirrored = func(_ context.Context, version uint64) error {
			if formatted := r.ResourceVersion; formatted != itoa(version) || w.count("create replicasets") > 0 {
				wrong.Store(true)
			}
			if marks.Add(1) <= 3 {
				failing.Add(1)
				return errors.New("the host does not answer")
			}
			return nil
		}
	})
	eventually(t, "it is created", func() bool { return w.count("create replicasets") == 1 })
	if failing.Load() != 3 || wrong.Load() {
		t.Errorf("the mark must cover the Rollout's resourceVersion and come before the ReplicaSet")
	}
}

func TestTheNameOfTheNewReplicaSetIsTaken(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		change func(*appsv1.ReplicaSet)
		// collides is true if another name must be chosen.
		collides bool
		// adopted is true if the one that is there must become ours.
		adopted bool
	}{{
		rule:   "ours, created by a request whose answer was lost: it is the one",
		change: func(*appsv1.ReplicaSet) {},
	}, {
		rule:    "without a controller, of the same template: it is adopted",
		change:  func(rs *appsv1.ReplicaSet) { rs.OwnerReferences = nil },
		adopted: true,
	}, {
		rule:     "controlled by another: it is left alone",
		change:   func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "someone-else" },
		collides: true,
	}, {
		rule: "without our label, which the caches never show: it is left alone",
		change: func(rs *appsv1.ReplicaSet) {
			rs.OwnerReferences = nil
			delete(rs.Labels, rollouts.PodTemplateHashLabel)
		},
		collides: true,
	}, {
		rule:     "ours, of another template: it is left alone",
		change:   func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Spec.Containers[0].Image = "web:0" },
		collides: true,
	}} {
		t.Run(tc.rule, func(t *testing.T) {
			w := newWorld(t)
			r := w.addRollout("demo")
			existing := testReplicaSet(r, "abc", 2)
			tc.change(existing)
			var looks atomic.Int32
			w.start(func(s engine.Snapshot) engine.Decision {
				// It appears after the servers were read.
				if looks.Add(1) == 2 {
					w.addReplicaSet(existing)
				}
				return deploy(s)
			})
			wanted := "demo-abc"
			if tc.collides {
				eventually(t, "another hash is chosen", func() bool { return w.rollout("demo").Status.CurrentPodHash != "abc" })
				wanted = "demo-" + w.rollout("demo").Status.CurrentPodHash
			}
			eventually(t, "the Rollout has its ReplicaSet", func() bool {
				rs, err := w.host.AppsV1().ReplicaSets(testNamespace).Get(t.Context(), wanted, metav1.GetOptions{})
				return err == nil && metav1.IsControlledBy(rs, r)
			})
			eventually(t, "the name is tried, after the test took it", func() bool { return w.count("create replicasets demo-abc") == 2 })
			if patched := w.count("patch replicasets") > 0; patched != tc.adopted {
				t.Errorf("adopted: %v, want %v", patched, tc.adopted)
			}
		})
	}
}
