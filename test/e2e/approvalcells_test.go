// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// approvers is the group that may approve.
const approvers = "release-managers"

// Every cell of the table of docs/approvals.md is what happens to whoever promotes at a step that asks for
// approval, first as a dry run, then for good.
func TestEveryCellOfApprovals(t *testing.T) {
	s := together(t)
	first, second := s.releaser("first", approvers), s.releaser("second", approvers)
	outsider, overrider := s.releaser("outsider"), s.releaser("overrider", approvers)
	s.alsoHas("overrider", "sluice-override")
	approvedBy := func(who *scenario) stage {
		return stage{func(of *scenario, name string) {
			of.must(of.as(who).call(http.MethodPost, name, "promote", "{}").err)
		}, func(r *v1alpha1.Rollout) string { return unless(len(r.Status.Approvals) == 1, "an approval") }}
	}
	callers := map[string]struct {
		caller *scenario
		stages []stage
	}{
		"first of two":                               {first, []stage{editedBy(s)}},
		"last of two":                                {second, []stage{editedBy(s), approvedBy(first)}},
		"has approved already":                       {first, []stage{editedBy(s), approvedBy(first)}},
		"has changed the template":                   {first, []stage{editedBy(first)}},
		"in none of the groups":                      {outsider, []stage{editedBy(s)}},
		"has override":                               {overrider, []stage{editedBy(s)}},
		"has override, and has changed the template": {overrider, []stage{editedBy(overrider)}},
	}
	table := s.table("docs/approvals.md", "caller", "promote", "promote override", "promote full", "abort")
	if got, want := slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(callers)); !slices.Equal(got, want) {
		t.Fatalf("the table has the callers %q, and the test knows %q", got, want)
	}
	for i, who := range slices.Sorted(maps.Keys(table)) {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			steps := append([]stage{deployed(threeSteps(approval(2, approvers))...)}, callers[who].stages...)
			of := &scenario{t, s.Cluster, s.namespace}
			of.rowHolds(callers[who].caller, state{prefix: fmt.Sprintf("caller-%d", i), stages: steps}, table[who])
		})
	}
}

// editedBy is a change of the template by somebody, until the update waits at its second step.
func editedBy(who *scenario) stage {
	return stage{func(of *scenario, name string) { of.as(who).change(name, toVersionTwo) }, waitingAt(1)}
}

// releaser is somebody who may call all verbs in the namespace of the test, in these groups.
func (s *scenario) releaser(name string, groups ...string) *scenario {
	s.Helper()
	s.alsoHas(name, "sluice-releaser")
	other, err := s.As(name, groups...)
	s.must(err)
	s.eventually(name+" to be known", func(context.Context) bool { return s.granted(name, "rollouts/undo", "create") })
	return &scenario{T: s.T, Cluster: other, namespace: s.namespace}
}

// alsoHas gives somebody a role in the namespace of the test.
func (s *scenario) alsoHas(name, role string) {
	s.Helper()
	_, err := s.Host.RbacV1().RoleBindings(s.namespace).Create(s.ctx(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + role},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}, metav1.CreateOptions{})
	s.must(err)
	if role == "sluice-override" {
		s.eventually(name+" to have override", func(context.Context) bool { return s.granted(name, "rollouts", "override") })
	}
}
