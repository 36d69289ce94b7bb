// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

// Overlay is what is installed, in the source tree.
const Overlay = "artifacts/overlays/embedded"

// Install are the commands of kubectl by which the documents have Sluice installed, in their order, and Uninstall those
// by which it is taken away. The tests here play them, and test/architecture finds each of them in the documents.
var (
	Install = []string{
		"apply -k " + Overlay,
		"-n sluice-system rollout status statefulset/sluice-apiserver",
		"wait apiservice/v1alpha1.sluice.dev --for=condition=Available --timeout=2m",
	}
	Uninstall = []string{
		"sluice detach --all --all-namespaces",
		"get rollouts.sluice.dev -A",
		"delete apiservice v1alpha1.sluice.dev",
		"delete -k " + Overlay + " --ignore-not-found",
	}
)

// UninstallInTheWrongOrder is what the documents warn of.
const UninstallInTheWrongOrder = "delete -k " + Overlay
