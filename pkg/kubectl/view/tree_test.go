// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestRollout(t *testing.T) {
	stable, canary := replicaSet("old", 1, 4, "repo/web:1.0", 12*time.Minute), replicaSet("new", 2, 1, "repo/web:1.1", 40*time.Second)
	tests := []struct {
		rule string
		s    Snapshot
		want string
	}{
		{
			rule: "a canary in its pause shows both revisions, the newest first, with roles and pods",
			s:    Snapshot{Rollout: web(), ReplicaSets: []*appsv1.ReplicaSet{stable, canary}, Pods: append(podsFor(stable), podsFor(canary)...)},
			want: `
Name:            web
Namespace:       shop
Status:          ॥ Paused
Message:         CanaryPauseStep
Strategy:        Canary
  Step:          1/8
  SetWeight:     20
  ActualWeight:  20
Images:          repo/web:1.0 (stable)
                 repo/web:1.1 (canary)
Replicas:
  Desired:       5
  Current:       5
  Updated:       1
  Ready:         5
  Available:     5

NAME                   KIND        STATUS     AGE  INFO
⟳ web                  Rollout     ॥ Paused   12m
├──# revision:2
│  └──⧉ web-new        ReplicaSet  ✔ Healthy  40s  canary
│     └──□ web-new-p0  Pod         ✔ Running  40s  ready:1/1
└──# revision:1
   └──⧉ web-old        ReplicaSet  ✔ Healthy  12m  stable
      ├──□ web-old-p0  Pod         ✔ Running  12m  ready:1/1
      ├──□ web-old-p1  Pod         ✔ Running  12m  ready:1/1
      ├──□ web-old-p2  Pod         ✔ Running  12m  ready:1/1
      └──□ web-old-p3  Pod         ✔ Running  12m  ready:1/1
`,
		},
		{
			rule: "when Healthy there is no message, the weights are 100, and scaled-down revisions stay in the tree but not among the images",
			s: Snapshot{
				Rollout: web(func(r *v1alpha1.Rollout) {
					r.Status.Phase, r.Status.Message = v1alpha1.RolloutPhaseHealthy, ""
					r.Status.StableRS, r.Status.CurrentStepIndex = "new", ptr.To[int32](8)
					r.Status.UpdatedReplicas, r.Status.ReadyReplicas, r.Status.AvailableReplicas = 1, 1, 1
					r.Status.Replicas, r.Spec.Replicas = 1, ptr.To[int32](1)
				}),
				ReplicaSets: []*appsv1.ReplicaSet{replicaSet("old", 1, 0, "repo/web:1.0", time.Hour), canary},
				Pods:        podsFor(canary),
			},
			want: `
Name:            web
Namespace:       shop
Status:          ✔ Healthy
Strategy:        Canary
  Step:          8/8
  SetWeight:     100
  ActualWeight:  100
Images:          repo/web:1.1 (stable)
Replicas:
  Desired:       1
  Current:       1
  Updated:       1
  Ready:         1
  Available:     1

NAME                   KIND        STATUS        AGE  INFO
⟳ web                  Rollout     ✔ Healthy     12m
├──# revision:2
│  └──⧉ web-new        ReplicaSet  ✔ Healthy     40s  stable
│     └──□ web-new-p0  Pod         ✔ Running     40s  ready:1/1
└──# revision:1
   └──⧉ web-old        ReplicaSet  • ScaledDown  60m
`,
		},
		{
			rule: "a first deployment has neither a stable nor a canary revision, and nothing but its header before its ReplicaSet is there",
			s: Snapshot{Rollout: web(func(r *v1alpha1.Rollout) {
				r.Spec.Strategy.Canary.Steps = nil
				r.Status = v1alpha1.RolloutStatus{ObservedGeneration: 1, CurrentPodHash: "new", Revision: 1}
			})},
			want: `
Name:            web
Namespace:       shop
Status:          ◌ Progressing
Message:         waiting for rollout spec update to be observed
Strategy:        Canary
  SetWeight:     100
  ActualWeight:  0
Replicas:
  Desired:       5
  Current:       0
  Updated:       0
  Ready:         0
  Available:     0

NAME   KIND     STATUS         AGE  INFO
⟳ web  Rollout  ◌ Progressing  12m
`,
		},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			lines := Rollout(test.s, now, NoColour)
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), strings.Join(lines, "\n")+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRolloutShowsOnlyItsOwn(t *testing.T) {
	stranger := replicaSet("new", 3, 1, "repo/other:9", time.Minute)
	stranger.OwnerReferences[0].UID = "uid-other"
	free := replicaSet("free", 4, 1, "repo/other:9", time.Minute)
	free.OwnerReferences = nil
	s := Snapshot{Rollout: web(), ReplicaSets: []*appsv1.ReplicaSet{stranger, free}, Pods: podsFor(stranger)}
	lines := Rollout(s, now, NoColour)
	if text := strings.Join(lines, "\n"); strings.Contains(text, "revision:") || strings.Contains(text, "repo/other") {
		t.Errorf("what another owner controls, or nobody, is not part of the tree:\n%s", text)
	}
}

func TestColoursAddNoWidth(t *testing.T) {
	rs := replicaSet("new", 2, 1, "repo/web:1.1", time.Minute)
	s := Snapshot{Rollout: web(), ReplicaSets: []*appsv1.ReplicaSet{rs}, Pods: podsFor(rs)}
	plain := Rollout(s, now, NoColour)
	coloured := Rollout(s, now, ANSIColour)
	escaped := strings.Join(coloured, "\n")
	if !strings.Contains(escaped, "\x1b[33m॥ Paused\x1b[0m") || !strings.Contains(escaped, "\x1b[32m✔ Healthy\x1b[0m") {
		t.Errorf("the status is not coloured: %q", escaped)
	}
	if diff := cmp.Diff(strings.Join(plain, "\n"), withoutEscapes(escaped)); diff != "" {
		t.Errorf("colours change the layout: %s", diff)
	}
}

// withoutEscapes drops the control sequences that set a colour.
func withoutEscapes(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func TestReplicaSetStatus(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*appsv1.ReplicaSet)
		want   string
	}{
		{"all available: Healthy", func(*appsv1.ReplicaSet) {}, "✔ Healthy"},
		{"available < spec: Progressing", func(rs *appsv1.ReplicaSet) { rs.Status.AvailableReplicas = 1 }, "◌ Progressing"},
		{"generation behind: Progressing", func(rs *appsv1.ReplicaSet) { rs.Generation = 2 }, "◌ Progressing"},
		{"none wanted: ScaledDown", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](0) }, "• ScaledDown"},
		{"pods cannot be created: ReplicaFailure", func(rs *appsv1.ReplicaSet) {
			rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue}}
		}, "⚠ ReplicaFailure"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			rs := replicaSet("new", 1, 2, "i", time.Minute)
			test.change(rs)
			if got := replicaSetStatus(rs).span().text; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
