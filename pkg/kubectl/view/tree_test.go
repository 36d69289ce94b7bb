// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestRollout(t *testing.T) {
	stable := replicaSet("old", v1alpha1.TreeRoleStable, 4, "repo/web:1.0", 12*time.Minute)
	canary := replicaSet("new", v1alpha1.TreeRoleCanary, 1, "repo/web:1.1", 40*time.Second)
	promoted := replicaSet("new", v1alpha1.TreeRoleStable, 1, "repo/web:1.1", 40*time.Second)
	tests := []struct {
		rule string
		tree *v1alpha1.RolloutTree
		want string
	}{
		{
			rule: "a canary in its pause shows both revisions, the newest first, with roles and pods",
			tree: tree([]v1alpha1.TreeReplicaSet{canary, stable}),
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
			rule: "when Healthy there is no message, and scaled-down revisions stay in the tree but not among the images",
			tree: tree([]v1alpha1.TreeReplicaSet{promoted, replicaSet("old", "", 0, "repo/web:1.0", time.Hour)}, func(t *v1alpha1.RolloutTree) {
				r := &t.Rollout
				r.Phase, r.Message, r.StepIndex = v1alpha1.RolloutPhaseHealthy, "", ptr.To[int32](8)
				r.SetWeight, r.ActualWeight = 100, 100
				r.Replicas, r.CurrentReplicas, r.ReadyReplicas, r.AvailableReplicas = 1, 1, 1, 1
			}),
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
			rule: "before its first ReplicaSet there is nothing but the header, and without steps no step",
			tree: tree(nil, func(t *v1alpha1.RolloutTree) {
				t.Rollout = v1alpha1.TreeRollout{
					Strategy: "Canary", Phase: v1alpha1.RolloutPhaseProgressing, Message: "waiting for rollout spec update to be observed", Replicas: 5, SetWeight: 100,
				}
			}),
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
			lines := Rollout(test.tree, now, NoColour)
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), strings.Join(lines, "\n")+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRolloutWithoutAStrategyHasNoWeights(t *testing.T) {
	lines := strings.Join(Rollout(tree(nil, func(t *v1alpha1.RolloutTree) { t.Rollout.Strategy = "" }), now, NoColour), "\n")
	if !strings.Contains(lines, "Strategy:        <none>\nReplicas:") {
		t.Errorf("printed\n%s", lines)
	}
}

func TestWhatOthersWroteCannotSteerTheTerminal(t *testing.T) {
	lines := strings.Join(Rollout(tree(nil, func(t *v1alpha1.RolloutTree) { t.Rollout.Message = "quota\n\x1b[2Jexceeded" }), now, NoColour), "\n")
	if !strings.Contains(lines, "Message:         quota \uFFFD[2Jexceeded\n") {
		t.Errorf("printed\n%q", lines)
	}
}

func TestColoursAddNoWidth(t *testing.T) {
	web := tree([]v1alpha1.TreeReplicaSet{replicaSet("new", v1alpha1.TreeRoleCanary, 1, "repo/web:1.1", time.Minute)})
	plain := Rollout(web, now, NoColour)
	coloured := Rollout(web, now, ANSIColour)
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
	for word, want := range map[string]string{
		"Healthy": "✔ Healthy", "Progressing": "◌ Progressing", "ScaledDown": "• ScaledDown", "ReplicaFailure": "⚠ ReplicaFailure", "Other": "? Other",
	} {
		if got := replicaSetStatus(&v1alpha1.TreeReplicaSet{Status: word}).span().text; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPodStatus(t *testing.T) {
	tests := []struct {
		rule string
		pod  v1alpha1.TreePod
		want string
	}{
		{"running and ready", v1alpha1.TreePod{Status: "Running", ReadyContainers: 2, Containers: 2}, "✔ Running ready:2/2"},
		{"running, a container is not ready", v1alpha1.TreePod{Status: "Running", ReadyContainers: 1, Containers: 2}, "◌ Running ready:1/2"},
		{"restarts are counted", v1alpha1.TreePod{Status: "Running", ReadyContainers: 1, Containers: 1, Restarts: 3}, "✔ Running ready:1/1,restarts:3"},
		{"done", v1alpha1.TreePod{Status: "Completed", Containers: 1}, "✔ Completed ready:0/1"},
		{"waits for a node", v1alpha1.TreePod{Status: "Pending", Containers: 1}, "◷ Pending ready:0/1"},
		{"waits for a gate", v1alpha1.TreePod{Status: "SchedulingGated", Containers: 1}, "◷ SchedulingGated ready:0/1"},
		{"starts", v1alpha1.TreePod{Status: "ContainerCreating", Containers: 1}, "◌ ContainerCreating ready:0/1"},
		{"ends", v1alpha1.TreePod{Status: "Terminating", Containers: 1}, "◌ Terminating ready:0/1"},
		{"init containers are under way", v1alpha1.TreePod{Status: "Init:1/2", Containers: 1}, "◌ Init:1/2 ready:0/1"},
		{"an init container fails", v1alpha1.TreePod{Status: "Init:CrashLoopBackOff", Containers: 1}, "✖ Init:CrashLoopBackOff ready:0/1"},
		{"the image cannot be had", v1alpha1.TreePod{Status: "ImagePullBackOff", Containers: 1}, "⚠ ImagePullBackOff ready:0/1"},
		{"nor for an init container", v1alpha1.TreePod{Status: "Init:ErrImagePull", Containers: 1}, "⚠ Init:ErrImagePull ready:0/1"},
		{"a container fails", v1alpha1.TreePod{Status: "CrashLoopBackOff", Containers: 1}, "✖ CrashLoopBackOff ready:0/1"},
		{"its node is lost", v1alpha1.TreePod{Status: "Unknown", Containers: 1}, "? Unknown ready:0/1"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if got := podStatus(&test.pod).span().text + " " + podInfo(&test.pod); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestRolloutOfBlueGreen: no weights, and the roles of its revisions.
func TestRolloutOfBlueGreen(t *testing.T) {
	active := replicaSet("old", v1alpha1.TreeRoleActive, 1, "repo/web:1.0", 12*time.Minute)
	preview := replicaSet("new", v1alpha1.TreeRolePreview, 1, "repo/web:1.1", 40*time.Second)
	shown := strings.Join(Rollout(tree([]v1alpha1.TreeReplicaSet{preview, active}, func(t *v1alpha1.RolloutTree) {
		t.Rollout.Strategy, t.Rollout.Steps, t.Rollout.StepIndex = "BlueGreen", 0, nil
	}), now, NoColour), "\n")
	for _, want := range []string{"Strategy:        BlueGreen\nImages:          repo/web:1.0 (active)\n                 repo/web:1.1 (preview)\n", "40s  preview", "12m  active"} {
		if !strings.Contains(shown, want) {
			t.Errorf("shown\n%s\nwithout %q", shown, want)
		}
	}
}
