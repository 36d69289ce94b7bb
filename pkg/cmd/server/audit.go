// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	_ "embed"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// auditPolicy is what is logged unless --audit-policy-file names another policy. It is part of the program,
// so that no installation goes without an audit log because nobody thought of it.
//
//go:embed audit-policy.yaml
var auditPolicy []byte

// auditToStdout is the --audit-log-path that needs no disk, and that every cluster collects.
const auditToStdout = "-"

func (o *Options) addAuditFlags(flags *pflag.FlagSet) {
	o.Recommended.Audit.AddFlags(flags)
	flags.Lookup("audit-policy-file").Usage = "Path to a file with an audit policy. If unset, a built-in policy logs who did what, and verbs with request and response."
	flags.Lookup("audit-log-path").Usage = "File that audit events are written to. '-' means standard output; set but empty, there is no audit log."
}

// applyAudit sets up the audit log. The generic server takes a policy from a file only, so the built-in one
// becomes one for as long as it is read.
func (o *Options) applyAudit(config *genericapiserver.Config) (err error) {
	audit := *o.Recommended.Audit
	if audit.PolicyFile != "" {
		return audit.ApplyTo(config)
	}
	file, err := os.CreateTemp("", "sluice-audit-policy-*.yaml")
	if err != nil {
		return fmt.Errorf("the built-in audit policy needs a folder for temporary files, which --audit-policy-file does not: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(auditPolicy)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("the built-in audit policy cannot be written to %s: %w", file.Name(), err)
	}
	audit.PolicyFile = file.Name()
	return audit.ApplyTo(config)
}
