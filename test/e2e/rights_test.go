// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

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
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/test/cluster"
)

// right is one thing that a role allows: a verb on a resource, or on one object of it.
type right struct{ verb, group, resource, name string }

func (r right) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s.%s %s", r.verb, r.resource, r.group, r.name), " ")
}

// elsewhere are rights that are needed where the log of the host does not show it, each with the reason.
var elsewhere = map[right]string{
	{"update", "sluice.dev", "rollouts/finalizers", ""}: "asked for within kube-apiserver by OwnerReferencesPermissionEnforcement, which is on here: without it no ReplicaSet is created",
	{"get", "apps", "replicasets", ""}:                  "of a ReplicaSet whose labels were changed by hand, before it is believed to be the Rollout's still",
}

// holdRights holds the rights that ship against what the server did with them in the whole suite. One that it used is
// missed as soon as it is taken away, since nothing may be forbidden to it; one that it did not use is too much.
func holdRights(c *cluster.Cluster) error {
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
	granted, err := grantedIn(c.Repository())
	if err != nil {
		return err
	}
	var problems []error
	for _, what := range forbidden {
		problems = append(problems, fmt.Errorf("the server was not allowed to %s: it lacks a right", what))
	}
	for _, r := range granted {
		if !used[r] && !used[instead(r)] && elsewhere[r] == "" {
			problems = append(problems, fmt.Errorf("nothing needs the right to %s: take it out of artifacts/base", r))
		}
	}
	fmt.Fprintf(os.Stderr, "the server has %d rights, and used %d different ones\n", len(granted), len(used))
	return errors.Join(problems...)
}

// instead is the right that is used in place of another on this host: it streams what informers begin with, as an answer
// to watch, which is listed on a host that does not.
func instead(r right) right {
	if r.verb == "list" {
		r.verb = "watch"
	}
	return r
}

// requested is what the server did, each with and without the name of the object, and what it was not allowed to do.
func requested(logs []string) (used map[right]bool, forbidden []string, err error) {
	used = map[right]bool{}
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
			case r == right{}:
			case allowed:
				used[r] = true
				r.name = ""
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
func answered(e *auditv1.Event) (r right, allowed bool) {
	if e.ObjectRef == nil || e.ResponseStatus == nil {
		return right{}, false
	}
	resource := strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
	refused := e.ResponseStatus.Code == http.StatusForbidden && e.Annotations["authorization.k8s.io/decision"] == "forbid"
	return right{e.Verb, e.ObjectRef.APIGroup, resource, e.ObjectRef.Name}, !refused
}

// grantedIn are the rights of the roles that ship for a server that is alone.
func grantedIn(repository string) ([]right, error) {
	var all []right
	for _, name := range []string{"clusterrole-server.yaml", "role-server.yaml"} {
		content, err := os.ReadFile(filepath.Join(repository, "artifacts", "base", name))
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			var role rbacv1.ClusterRole
			if err := yaml.Unmarshal([]byte(document), &role); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for _, rule := range role.Rules {
				all = append(all, each(rule)...)
			}
		}
	}
	return all, nil
}

// each are the rights of a rule one by one.
func each(rule rbacv1.PolicyRule) (all []right) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				for _, name := range names {
					all = append(all, right{verb, group, resource, name})
				}
			}
		}
	}
	return all
}
