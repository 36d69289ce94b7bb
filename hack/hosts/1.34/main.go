// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kube is what a host cluster of Kubernetes 1.34 is made of, in one binary: kube-apiserver,
// kube-controller-manager, kube-scheduler and kubectl, chosen by the name it is called by. What else a local control
// plane needs comes from the binary of the same name in hack/localcluster.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJobs name time zones; the host may have no zone files.

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	switch name {
	case "kube-apiserver":
		runComponent(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		runComponent(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		runComponent(scheduler.NewSchedulerCommand())
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	default:
		fmt.Fprintf(os.Stderr, "%s: call this binary as kube-apiserver, kube-controller-manager, kube-scheduler or kubectl\n", name)
		os.Exit(2)
	}
}

func runComponent(command *cobra.Command) {
	os.Exit(cli.Run(command))
}
