// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The demonstration that "make demo" shows plays on the control plane that is up, and says that its pods are real.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo := exec.CommandContext(t.Context(), "go", "run", "-buildvcs=false", "./test/demo", "--dir="+local.Dir())
	demo.Dir = local.Repository()
	t.Cleanup(func() {
		output, err := local.Kubectl(context.WithoutCancel(t.Context()), "", "--namespace="+metav1.NamespaceDefault, "delete", "-f", filepath.Join(local.Repository(), "artifacts", "examples", "rollouts-demo.yaml"), "--ignore-not-found")
		if err != nil || output.Err() != nil {
			t.Errorf("what it plays with is left: %v, %v", err, output.Err())
		}
	})
	output, err := demo.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, said := range []string{"The pods are real", "Every stage was as it should be"} {
		if !strings.Contains(string(output), said) {
			t.Errorf("it does not say %q:\n%s", said, output)
		}
	}
	if strings.Contains(string(output), "kwok") {
		t.Errorf("it names fake nodes:\n%s", output)
	}
}
