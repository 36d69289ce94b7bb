// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"sluice.dev/sluice/pkg/apiserver"
)

// audited is the configuration that the options with these arguments give.
func audited(t *testing.T, args ...string) *genericapiserver.Config {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	options := NewOptions()
	flags := pflag.NewFlagSet("audit", pflag.ContinueOnError)
	options.addAuditFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	config := &genericapiserver.NewRecommendedConfig(apiserver.Codecs).Config
	if err := options.applyAudit(config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestAuditIsOnUnlessItIsTurnedOff(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	promote := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "jane"}, Verb: "create", APIGroup: "sluice.dev", Resource: "rollouts",
		Subresource: "promote", ResourceRequest: true}
	for _, row := range []struct {
		rule    string
		args    []string
		logged  bool
		promote audit.Level
	}{
		{"without a flag", nil, true, audit.LevelRequestResponse},
		{"to a file", []string{"--audit-log-path=" + filepath.Join(t.TempDir(), "audit.log")}, true, audit.LevelRequestResponse},
		{"by another policy", []string{"--audit-policy-file=" + policy}, true, audit.LevelNone},
		{"turned off", []string{"--audit-log-path="}, false, audit.LevelRequestResponse},
	} {
		t.Run(row.rule, func(t *testing.T) {
			config := audited(t, row.args...)
			if logged := config.AuditBackend != nil; logged != row.logged {
				t.Errorf("is there a log: %v", logged)
			}
			if level := config.AuditPolicyRuleEvaluator.EvaluatePolicyRule(promote).Level; level != row.promote {
				t.Errorf("a promote is logged as %s instead of %s", level, row.promote)
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestAuditPolicy(t *testing.T) {
	const me = user.APIServerUser
	evaluator := audited(t).AuditPolicyRuleEvaluator
	for _, row := range []struct {
		rule, user, verb, resource, subresource string
		want                                    audit.Level
	}{
		{"a verb by POST", "jane", "create", "rollouts", "undo", audit.LevelRequestResponse},
		{"a verb by PUT", "jane", "update", "rollouts", "pause", audit.LevelRequestResponse},
		{"a verb by PATCH", "jane", "patch", "rollouts", "restart", audit.LevelRequestResponse},
		{"the state that a verb would act on", "jane", "get", "rollouts", "promote", audit.LevelMetadata},
		{"a plan is no verb", "jane", "create", "rollouts", "plan", audit.LevelMetadata},
		{"a write of a Rollout", "jane", "update", "rollouts", "", audit.LevelMetadata},
		{"somebody's write of status", "jane", "update", "rollouts", "status", audit.LevelMetadata},
		{"somebody who has the name only", "not " + me, "update", "rollouts", "status", audit.LevelMetadata},
		{"a read", "jane", "list", "rollouts", "", audit.LevelMetadata},
		{"the controller's write of status", me, "update", "rollouts", "status", audit.LevelNone},
		{"the controller's read", me, "watch", "rollouts", "", audit.LevelNone},
		{"any other write by the server", me, "delete", "rollouts", "", audit.LevelMetadata},
	} {
		t.Run(row.rule, func(t *testing.T) {
			caller := &user.DefaultInfo{Name: row.user}
			if row.user == me {
				caller.Groups = []string{user.SystemPrivilegedGroup}
			} else if row.user == "not "+me {
				caller.Name = me
			}
			got := evaluator.EvaluatePolicyRule(authorizer.AttributesRecord{User: caller, Verb: row.verb, APIGroup: "sluice.dev",
				Resource: row.resource, Subresource: row.subresource, ResourceRequest: true})
			if got.Level != row.want {
				t.Errorf("logged as %s instead of %s", got.Level, row.want)
			}
		})
	}
	probe := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: user.Anonymous}, Verb: "get", Path: "/readyz"}
	if got := evaluator.EvaluatePolicyRule(probe).Level; got != audit.LevelNone {
		t.Errorf("a probe is logged as %s", got)
	}
}
