// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac holds the rights of the roles that ship against what the server did with them, as kube-apiserver has
// noted it: each is needed, and none is lacking. So a rule that is taken away, or one too many, fails the suite that
// looks here at its end. It may import test/cluster and the names of what the server keeps.
package rbac

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/cmd/server/member"
	"sluice.dev/sluice/test/cluster"
)

// Right is one thing that a role allows.
type Right struct {
	// Verb, Group and Resource are those of the rule, the resource with its subresource.
	Verb, Group, Resource string
	// Name is the object that it is limited to; empty if it is not.
	Name string
}

// String is the right as messages name it.
func (r Right) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s.%s %s", r.Verb, r.Resource, r.Group, r.Name), " ")
}

// Roles are manifests with roles, which ship together.
type Roles struct {
	// Files are their paths within the source tree.
	Files []string
	// Elsewhere are rights that are needed where the log of the host does not show it, each with the reason.
	Elsewhere map[Right]string
}

// Alone are the roles of a server that is alone.
var Alone = Roles{
	Files: []string{"artifacts/base/clusterrole-server.yaml", "artifacts/base/role-server.yaml"},
	Elsewhere: map[Right]string{
		{"update", "sluice.dev", "rollouts/finalizers", ""}: "asked for within kube-apiserver by OwnerReferencesPermissionEnforcement, which is on here: without it no ReplicaSet is created",
		{"get", "apps", "replicasets", ""}:                  "of a ReplicaSet whose labels were changed by hand, before it is believed to be the Rollout's still",
	},
}

// Members is what the members of one etcd cluster need besides.
var Members = Roles{
	Files: []string{"artifacts/overlays/ha/role-members.yaml"},
	Elsewhere: map[Right]string{
		{"update", "", "secrets", member.AuthoritySecretName}: "when the authority of the members is renewed, which is once in some years",
	},
}

// Hold returns an error if the server lacked a right, or does not need one of these. It is to be called when all tests
// of a suite have run: if some were left out, it says so and looks at nothing.
func Hold(c *cluster.Cluster, roles Roles) error {
	if filter := flag.Lookup("test.run").Value.String() + flag.Lookup("test.skip").Value.String(); filter != "" {
		fmt.Fprintln(os.Stderr, "whether every right of the server is used is not looked at: not all tests have run")
		return nil
	}
	// It is rotated when it is large.
	logs, err := filepath.Glob(filepath.Join(c.Dir(), "log", "kube-apiserver-audit*.log"))
	if err != nil {
		return err
	}
	used, forbidden, err := requested(logs)
	if err != nil {
		return err
	}
	granted, err := roles.granted(c.Repository())
	if err != nil {
		return err
	}
	if granted, err = onHost(c.Host.Discovery(), granted); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s have %d rights, and the server used %d different ones\n", strings.Join(roles.Files, " and "), len(granted), len(used))
	return roles.compare(granted, used, forbidden)
}

// onHost are the rights on what the host has: an older one lacks some resources, and what Sluice would do with them is not
// done there.
func onHost(host discovery.DiscoveryInterface, all []Right) (there []Right, err error) {
	_, lists, err := host.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	has := map[schema.GroupResource]bool{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			has[schema.GroupResource{Group: version.Group, Resource: resource.Name}] = true
		}
	}
	for _, r := range all {
		resource, _, _ := strings.Cut(r.Resource, "/")
		if has[schema.GroupResource{Group: r.Group, Resource: resource}] {
			there = append(there, r)
		} else {
			fmt.Fprintf(os.Stderr, "whether the right to %s is used is not looked at: this cluster has no such resource\n", r)
		}
	}
	return there, nil
}

// compare is an error for each right that was lacking, and for each that was not used.
func (roles Roles) compare(granted []Right, used map[Right]bool, forbidden []string) error {
	var problems []error
	for _, what := range forbidden {
		problems = append(problems, fmt.Errorf("the server was not allowed to %s: it lacks a right", what))
	}
	for _, r := range granted {
		if !used[r] && !used[instead(r)] && roles.Elsewhere[r] == "" {
			problems = append(problems, fmt.Errorf("nothing needs the right to %s: take it out of %s", r, strings.Join(roles.Files, " or ")))
		}
	}
	for r, reason := range roles.Elsewhere {
		if !slices.Contains(granted, r) {
			problems = append(problems, fmt.Errorf("the server lacks the right to %s: %s", r, reason))
		}
	}
	return errors.Join(problems...)
}

// instead is the right that is used in place of another on this host: it streams what informers begin with, as an answer
// to watch, which is listed on a host that does not.
func instead(r Right) Right {
	if r.Verb == "list" {
		r.Verb = "watch"
	}
	return r
}

// requested is what the server did, each with and without the name of the object, and what it was not allowed to do.
func requested(logs []string) (used map[Right]bool, forbidden []string, err error) {
	used = map[Right]bool{}
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			return nil, nil, err
		}
		for line := range strings.Lines(string(content)) {
			if !strings.HasSuffix(line, "\n") {
				break // It is being written.
			}
			var e auditv1.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return nil, nil, fmt.Errorf("%s: %q: %w", log, line, err)
			}
			r, allowed := answered(&e)
			switch {
			case r == Right{}:
			case allowed:
				used[r] = true
				r.Name = ""
				used[r] = true
			case !slices.Contains(forbidden, r.String()):
				forbidden = append(forbidden, r.String())
			}
		}
	}
	return used, forbidden, nil
}

// answered is the right that a request took, and whether it was there; no right if it was about no resource. A namespace
// that is going, and a quota, forbid as well; the decision tells them apart.
func answered(e *auditv1.Event) (r Right, allowed bool) {
	if e.ObjectRef == nil || e.ResponseStatus == nil {
		return Right{}, false
	}
	resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
	refused := e.ResponseStatus.Code == http.StatusForbidden && e.Annotations["authorization.k8s.io/decision"] == "forbid"
	return Right{e.Verb, e.ObjectRef.APIGroup, resource, e.ObjectRef.Name}, !refused
}

// granted are the rights of all roles.
func (roles Roles) granted(repository string) ([]Right, error) {
	var all []Right
	for _, file := range roles.Files {
		content, err := os.ReadFile(filepath.Join(repository, file))
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			var role rbacv1.ClusterRole
			if err := yaml.Unmarshal([]byte(document), &role); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			for _, rule := range role.Rules {
				all = append(all, each(rule)...)
			}
		}
	}
	return all, nil
}

// each are the rights of a rule one by one.
func each(rule rbacv1.PolicyRule) (all []Right) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				for _, name := range names {
					all = append(all, Right{verb, group, resource, name})
				}
			}
		}
	}
	return all
}
