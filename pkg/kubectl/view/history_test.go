// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// annotated is a ReplicaSet of web as the cluster has it.
func annotated(hash string, revision int, notes map[string]string, images ...string) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: "web-" + hash, Labels: map[string]string{rollouts.PodTemplateHashLabel: hash},
		Annotations:     map[string]string{rollouts.RevisionAnnotation: strconv.Itoa(revision)},
		OwnerReferences: []metav1.OwnerReference{{UID: "uid-web", Controller: ptr.To(true)}},
	}}
	maps.Copy(rs.Annotations, notes)
	for _, image := range images {
		rs.Spec.Template.Spec.Containers = append(rs.Spec.Template.Spec.Containers, corev1.Container{Image: image})
	}
	return rs
}

func ended(outcome, at, user, reason string) map[string]string {
	return map[string]string{
		rollouts.OutcomeAnnotation: outcome, rollouts.OutcomeTimeAnnotation: at, rollouts.OutcomeUserAnnotation: user, rollouts.OutcomeReasonAnnotation: reason,
	}
}

func TestRevisions(t *testing.T) {
	first := annotated("first", 1, ended("promoted", "2026-01-01T08:00:00Z", "", "fully available"), "repo/web:1.0", "repo/proxy:2")
	bad := annotated("bad", 2, ended("aborted", "2026-01-01T09:00:00Z", "jane", "5xx\nsince 9:00"), "repo/web:1.1")
	old := annotated("old", 3, ended("promoted", "2026-01-01T10:00:00Z", "paul", ""), "repo/web:1.2")
	stranger := annotated("other", 9, nil, "repo/other:1")
	stranger.OwnerReferences[0].UID = "uid-other"
	tests := []struct {
		rule   string
		change func(*v1alpha1.Rollout)
		last   *appsv1.ReplicaSet
		want   string
	}{
		{"the revision that is rolled out has not ended, even if it was aborted once", nil,
			annotated("new", 4, ended("aborted", "2026-01-01T11:00:00Z", "jane", "again"), "repo/web:1.3"), `
REVISION  OUTCOME                WHEN                  BY    REASON           IMAGES
1         promoted               2026-01-01T08:00:00Z  -     fully available  repo/web:1.0,repo/proxy:2
2         aborted                2026-01-01T09:00:00Z  jane  5xx since 9:00   repo/web:1.1
3         promoted (stable)      2026-01-01T10:00:00Z  paul  -                repo/web:1.2
4         in progress (current)  -                     -     -                repo/web:1.3
`},
		{"aborted", func(r *v1alpha1.Rollout) { r.Status.Abort = true },
			annotated("new", 4, ended("aborted", "2026-01-01T11:00:00Z", "jane", "slow"), "repo/web:1.3"), `
REVISION  OUTCOME            WHEN                  BY    REASON           IMAGES
1         promoted           2026-01-01T08:00:00Z  -     fully available  repo/web:1.0,repo/proxy:2
2         aborted            2026-01-01T09:00:00Z  jane  5xx since 9:00   repo/web:1.1
3         promoted (stable)  2026-01-01T10:00:00Z  paul  -                repo/web:1.2
4         aborted (current)  2026-01-01T11:00:00Z  jane  slow             repo/web:1.3
`},
		{"stable and current", func(r *v1alpha1.Rollout) { r.Status.StableRS = "new" },
			annotated("new", 4, ended("promoted", "2026-01-01T11:00:00Z", "", ""), "repo/web:1.3"), `
REVISION  OUTCOME             WHEN                  BY    REASON           IMAGES
1         promoted            2026-01-01T08:00:00Z  -     fully available  repo/web:1.0,repo/proxy:2
2         aborted             2026-01-01T09:00:00Z  jane  5xx since 9:00   repo/web:1.1
3         promoted            2026-01-01T10:00:00Z  paul  -                repo/web:1.2
4         promoted (current)  2026-01-01T11:00:00Z  -     -                repo/web:1.3
`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			r := web()
			if test.change != nil {
				test.change(r)
			}
			lines := Revisions(r, []*appsv1.ReplicaSet{test.last, stranger, old, first, bad})
			if diff := cmp.Diff(strings.TrimSpace(test.want), strings.Join(lines, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if lines := Revisions(web(), []*appsv1.ReplicaSet{stranger}); lines[0] != "There are no revisions yet." {
		t.Errorf("the ReplicaSets of others are none of its: %v", lines)
	}
}

func TestActions(t *testing.T) {
	at := metav1.NewMicroTime(now.Add(-time.Hour))
	r := web(func(r *v1alpha1.Rollout) {
		r.Status.Actions = []v1alpha1.RolloutAction{
			{Verb: "promote", Outcome: v1alpha1.ActionApproved, User: "jane", FromStep: ptr.To[int32](1), ToStep: ptr.To[int32](1), Revision: 2, Time: at},
			{Verb: "promote", Outcome: v1alpha1.ActionDone, User: "paul", Impersonator: "ci", FromStep: ptr.To[int32](1), ToStep: ptr.To[int32](2), Revision: 2, Time: at, Reason: "fine\x1b[31m"},
			{Verb: "restart", Outcome: v1alpha1.ActionDone, User: "jane", Revision: 2},
			{Verb: "undo", Outcome: v1alpha1.ActionDone, User: "jane", ToStep: ptr.To[int32](0), Revision: 3, Time: at},
		}
	})
	const want = `
WHEN                  VERB     USER                          STEP  REVISION  OUTCOME   REASON
2026-01-02T11:00:00Z  promote  jane                          1     2         approved  -
2026-01-02T11:00:00Z  promote  paul (impersonated by ci)     1->2  2         done      fine` + "\uFFFD" + `[31m
-                     restart  jane                          -     2         done      -
2026-01-02T11:00:00Z  undo     jane                          0     3         done      -
`
	if diff := cmp.Diff(strings.Fields(want), strings.Fields(strings.Join(Actions(r), "\n"))); diff != "" {
		t.Error(diff)
	}
	if lines := Actions(web()); lines[0] != "Nothing was called on it yet." {
		t.Errorf("printed %v", lines)
	}
}
