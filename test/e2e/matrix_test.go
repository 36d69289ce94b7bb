// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// rights are RBAC verbs by resource of the group sluice.dev.
type rights map[string][]string

var (
	everyWay = []string{"get", "create", "update", "patch"}
	reading  = []string{"get", "list", "watch"}

	viewing = rights{"rollouts": reading, "rollouttrees": reading, "rollouts/status": {"get"}, "rollouts/scale": {"get"},
		"rollouts/explain": {"get"}, "rollouts/plan": {"get", "create"}}
	operating = rights{"rollouts/pause": everyWay, "rollouts/resume": everyWay, "rollouts/abort": everyWay,
		"rollouts/retry": everyWay, "rollouts/restart": everyWay}
	promoting = rights{"rollouts/promote": everyWay}
	undoing   = rights{"rollouts/undo": everyWay}
	editing   = rights{"rollouts": {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
		"rollouts/scale": {"get", "update", "patch"}}
	releasing = []rights{viewing, operating, promoting, undoing, editing}
)

// roles are the roles that ship, and those of the cluster that they become part of, with all their rights:
// the table of docs/security.md.
var roles = map[string][]rights{
	"sluice-viewer":   {viewing},
	"sluice-operator": {operating},
	"sluice-promoter": {promoting},
	"sluice-undoer":   {undoing},
	"sluice-editor":   {editing},
	"sluice-releaser": releasing,
	"sluice-override": {{"rollouts": {"override"}}},
	"view":            {viewing},
	"edit":            {viewing, editing},
	"admin":           releasing,
}

// mayDo says whether a role has a right, by the table.
func mayDo(role, resource, verb string) bool {
	return slices.ContainsFunc(roles[role], func(r rights) bool { return slices.Contains(r[resource], verb) })
}

// cast is somebody with each of the roles, in the namespace of the test, whose binding the host knows of.
func (s *scenario) cast() map[string]*scenario {
	s.Helper()
	everybody := map[string]*scenario{}
	for role := range roles {
		everybody[role] = s.user(s.holder(role), role)
	}
	for role, granted := range roles {
		for _, r := range granted {
			resource := slices.Sorted(maps.Keys(r))[0]
			s.eventually(role+" to be known", func(context.Context) bool { return s.granted(s.holder(role), resource, r[resource][0]) })
		}
	}
	return everybody
}

// holder is the name of whoever has a role.
func (s *scenario) holder(role string) string { return "has-" + role + "-in-" + s.namespace }

// granted asks the authorizer of the host.
func (s *scenario) granted(user, resource, verb string) bool {
	s.Helper()
	resource, subresource, _ := strings.Cut(resource, "/")
	review, err := s.Host.AuthorizationV1().SubjectAccessReviews().Create(s.ctx(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: "sluice.dev", Version: "*", Resource: resource, Subresource: subresource,
			Verb: verb, Namespace: s.namespace},
	}}, metav1.CreateOptions{})
	if err != nil {
		s.Error(err)
		return false
	}
	return review.Status.Allowed
}

// Every role has the rights of the table, and no others: for every resource, subresource and verb.
func TestRoleMatrix(t *testing.T) {
	s := together(t)
	everybody := s.cast()
	resources := rights{
		"rollouts":            {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "override"},
		"rollouts/status":     everyWay,
		"rollouts/finalizers": {"update"},
		"rollouttrees":        {"get", "list", "watch", "create", "update", "patch", "delete"},
	}
	for _, subresource := range append([]string{"scale", "plan", "explain"}, verbNames...) {
		resources["rollouts/"+subresource] = everyWay
	}
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for role := range everybody {
		for resource, verbs := range resources {
			for _, verb := range verbs {
				asking.Go(func() error {
					if got, want := s.granted(s.holder(role), resource, verb), mayDo(role, resource, verb); got != want {
						return fmt.Errorf("%s may %s %s: %v instead of %v", role, verb, resource, got, want)
					}
					return nil
				})
			}
		}
	}
	s.must(asking.Wait())
}

// What the table says is what happens: every verb and read, by every method, as every role. Dry runs leave the
// Rollout as it is, so that one is enough.
func TestRoleMatrixByHTTP(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("matrix")
	everybody := s.cast()
	r = s.get(r.Name)
	var calling errgroup.Group
	calling.SetLimit(atOnce)
	for role, user := range everybody {
		for _, subresource := range append([]string{"status", "plan", "explain"}, verbNames...) {
			for method, verb := range rbacVerbs {
				calling.Go(func() error {
					got := user.dry(method, r.Name, subresource, "{}")
					cell := fmt.Sprintf("%s of rollouts/%s as %s", method, subresource, role)
					if !mayDo(role, "rollouts/"+subresource, verb) {
						return forbidden(cell, got, s.holder(role), verb, "rollouts/"+subresource)
					}
					// What is impossible in this state is 409, and permitted.
					impossible := method != http.MethodGet && (subresource == "retry" || subresource == "resume")
					if impossible && got.code == http.StatusConflict || !impossible && (got.code == http.StatusOK || got.code == http.StatusCreated) {
						return nil
					}
					return fmt.Errorf("%s: %d, %w", cell, got.code, got.err)
				})
			}
		}
	}
	for role, user := range everybody {
		calling.Go(func() error {
			trees := user.Dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("rollouttrees")).Namespace(s.namespace)
			listed, err := trees.List(s.ctx(), metav1.ListOptions{})
			if mayDo(role, "rollouttrees", "list") {
				if err != nil || len(listed.Items) != 1 {
					return fmt.Errorf("%s does not see the tree: %w", role, err)
				}
				return nil
			}
			return forbidden("list of rollouttrees as "+role, reply{code: codeOf(err), err: err}, s.holder(role), "list", "rollouttrees")
		})
	}
	s.must(calling.Wait())
	s.unchanged(r)
}

// forbidden is nil if a call was refused for lack of a right, and told which.
func forbidden(cell string, got reply, words ...string) error {
	if got.code != http.StatusForbidden {
		return fmt.Errorf("%s: %d instead of 403 (%w)", cell, got.code, got.err)
	}
	for _, word := range words {
		if !strings.Contains(got.err.Error(), word) {
			return fmt.Errorf("%s: the refusal does not name %q: %w", cell, word, got.err)
		}
	}
	return nil
}

// codeOf is the code of the answer that an error stands for; 0 if there is none.
func codeOf(err error) int {
	if status := statusOf(err); status != nil {
		return int(status.Code)
	}
	return 0
}

// kubectl auth can-i tells the same: of every role all that it may do, and of single rights whether they are had.
func TestCanI(t *testing.T) {
	s := together(t)
	s.cast()
	var asking errgroup.Group
	asking.SetLimit(2)
	ask := func(role string, want bool, args ...string) {
		asking.Go(func() error {
			output, err := s.Kubectl(s.ctx(), "", append([]string{"auth", "can-i", "--as=" + s.holder(role), "--namespace=" + s.namespace}, args...)...)
			if err != nil {
				return err
			}
			if got := strings.TrimSpace(output.Stdout) == "yes"; got != want || got != (output.Code == 0) {
				return fmt.Errorf("%s as %s: %q, exit code %d, %s", strings.Join(args, " "), role, output.Stdout, output.Code, output.Stderr)
			}
			return nil
		})
	}
	for role := range roles {
		asking.Go(func() error {
			output, err := s.Kubectl(s.ctx(), "", "auth", "can-i", "--list", "--no-headers", "--as="+s.holder(role), "--namespace="+s.namespace)
			if err = cmp.Or(err, output.Err()); err != nil {
				return err
			}
			if got, want := canDo(output.Stdout), mayDoAll(role); !reflect.DeepEqual(got, want) {
				return fmt.Errorf("%s can do %v instead of %v", role, got, want)
			}
			return nil
		})
	}
	for _, role := range []string{"sluice-promoter", "edit"} {
		for _, verb := range verbNames {
			ask(role, mayDo(role, "rollouts/"+verb, "create"), "create", resource+"/demo", "--subresource="+verb)
		}
	}
	for _, role := range []string{"admin", "sluice-releaser", "sluice-override"} {
		ask(role, role == "sluice-override", "override", resource+"/demo")
	}
	s.must(asking.Wait())
}

// canDo are the rights on resources of the group sluice.dev in a list of kubectl auth can-i.
func canDo(listed string) rights {
	found := rights{}
	for line := range strings.Lines(listed) {
		resource, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, subresource, _ := strings.Cut(resource, "/")
		name, ours := strings.CutSuffix(name, ".sluice.dev")
		if !ours {
			continue
		}
		if subresource != "" {
			name += "/" + subresource
		}
		verbs := strings.TrimSuffix(strings.TrimSpace(line[strings.LastIndex(line, "[")+1:]), "]")
		found[name] = append(found[name], strings.Fields(verbs)...)
	}
	return found.sorted()
}

// mayDoAll are all rights of a role, by the table.
func mayDoAll(role string) rights {
	all := rights{}
	for _, r := range roles[role] {
		for resource, verbs := range r {
			all[resource] = append(all[resource], verbs...)
		}
	}
	return all.sorted()
}

// sorted has each verb once, in order.
func (r rights) sorted() rights {
	for resource, verbs := range r {
		slices.Sort(verbs)
		r[resource] = slices.Compact(verbs)
	}
	return r
}

// No role that ships writes status, nor has a wildcard that would.
func TestNoRoleWritesStatus(t *testing.T) {
	s := together(t)
	shipped, err := s.Host.RbacV1().ClusterRoles().List(s.ctx(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=sluice"})
	s.must(err)
	if len(shipped.Items) < 8 {
		t.Errorf("only %d ClusterRoles ship", len(shipped.Items))
	}
	for _, role := range shipped.Items {
		for _, rule := range role.Rules {
			if !slices.Contains(rule.APIGroups, "sluice.dev") && !slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) {
				continue
			}
			for _, resource := range rule.Resources {
				wild := strings.Contains(resource, "*") || slices.Contains(rule.Verbs, "*")
				if wild || strings.HasSuffix(resource, "/status") && !slices.Equal(rule.Verbs, []string{"get"}) {
					t.Errorf("%s may %v %s", role.Name, rule.Verbs, resource)
				}
			}
		}
	}
}
