// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	"sluice.dev/sluice/test/cluster"
)

// with is the same control plane by a client of Sluice with another configuration.
func (s *scenario) with(config *rest.Config) *scenario {
	s.Helper()
	client, err := versioned.NewForConfig(config)
	s.must(err)
	other := *s.Cluster
	other.Sluice = client
	return &scenario{s.T, &other, s.namespace}
}

// directly is the server itself, past the host, as somebody with a token.
func (s *scenario) directly(token string, as rest.ImpersonationConfig) *scenario {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	config := rest.AnonymousClientConfig(s.insecure())
	config.Host, config.QPS, config.BearerToken, config.Impersonate = component.URL, -1, token, as
	return s.with(config)
}

// serviceAccount makes a ServiceAccount, and returns its name as a user and a token of it.
func (s *scenario) serviceAccount(name string) (user, token string) {
	s.Helper()
	accounts := s.Host.CoreV1().ServiceAccounts(s.namespace)
	_, err := accounts.Create(s.ctx(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	s.must(err)
	answer, err := accounts.CreateToken(s.ctx(), name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}, metav1.CreateOptions{})
	s.must(err)
	return "system:serviceaccount:" + s.namespace + ":" + name, answer.Status.Token
}

// mayImpersonate gives somebody the right to act as one user, in one group.
func (s *scenario) mayImpersonate(who, user, group string) {
	s.Helper()
	name := s.namespace + "-impersonates"
	rbac := s.Host.RbacV1()
	_, err := rbac.ClusterRoles().Create(s.ctx(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{user}},
		{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: []string{group}},
	}}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := rbac.ClusterRoles().Delete(context.WithoutCancel(s.Context()), name, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
	_, err = rbac.ClusterRoleBindings().Create(s.ctx(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: who}},
	}, metav1.CreateOptions{})
	s.must(err)
	s.Cleanup(func() {
		if err := rbac.ClusterRoleBindings().Delete(context.WithoutCancel(s.Context()), name, metav1.DeleteOptions{}); err != nil {
			s.Error(err)
		}
	})
}

// Who acts in the name of another is known where the server itself is called: the action and the audit log name both. The
// host hands on the impersonated user alone. No call can say of itself that it has an impersonator.
func TestImpersonation(t *testing.T) {
	s := together(t)
	log := s.auditLog()
	alice := s.releaser("alice", approvers)
	r := s.pausedUpdate("borrowed")
	robot, token := s.serviceAccount("robot")
	s.alsoHas(robot, "sluice-promoter")
	s.eventually("robot to be known", func(context.Context) bool { return s.granted(robot, "rollouts/promote", "create") })
	asAlice := rest.ImpersonationConfig{UserName: "alice", Groups: []string{approvers}}
	s.refused(s.directly(token, asAlice).call(http.MethodPost, r.Name, "promote", "{}").err, http.StatusForbidden, robot, "cannot impersonate")
	s.unchanged(r)
	s.mayImpersonate(robot, "alice", approvers)
	s.oncePermitted(func() error { return s.directly(token, asAlice).dry(http.MethodPost, r.Name, "promote", "{}").err })

	step := int32(1)
	digests := map[string]string{}
	for _, test := range []struct {
		how                string
		who                *scenario
		method             string
		user, impersonator string
		// authenticated and impersonated are whom the log of the server names.
		authenticated, impersonated string
	}{
		{"directly, as alice", s.directly(token, asAlice), http.MethodPost, "alice", robot, robot, "alice"},
		{"directly, as itself", s.directly(token, rest.ImpersonationConfig{}), http.MethodPut, robot, "", robot, ""},
		{"through the host", alice, http.MethodPatch, "alice", "", "alice", ""},
	} {
		s.atPause(r.Name, step)
		step++
		s.must(test.who.call(test.method, r.Name, "promote", `{"reason":"`+test.how+`"}`).err)
		actions := s.get(r.Name).Status.Actions
		action := actions[len(actions)-1]
		if action.User != test.user || action.Impersonator != test.impersonator || action.Reason != test.how {
			t.Errorf("%s: the action is of %q, impersonated by %q", test.how, action.User, action.Impersonator)
		}
		digests[test.how] = action.GroupsDigest
		event := log.await(s, test.how, func(e *auditv1.Event) bool { return string(e.AuditID) == action.AuditID })
		impersonated := ""
		if event.ImpersonatedUser != nil {
			impersonated = event.ImpersonatedUser.Username
		}
		if event.User.Username != test.authenticated || impersonated != test.impersonated || event.ObjectRef.Name != r.Name {
			t.Errorf("%s: the log has %q, impersonating %q", test.how, event.User.Username, impersonated)
		}
	}
	// The groups that count are those of whom the call is for.
	if a, b, c := digests["directly, as alice"], digests["through the host"], digests["directly, as itself"]; a == "" || a != b || a == c {
		t.Errorf("the digests of the groups are %v", digests)
	}
	s.contains(s.kubectl("sluice", "history", r.Name), "alice (impersonated by "+robot+")")
}
