// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/cluster"
)

// Beside Argo Rollouts the short names stay theirs, when it comes later. That it may come first, TestUninstall shows.
func TestArgoKeepsItsNames(t *testing.T) {
	s := newScenario(t)
	_, err := s.rollouts().Create(s.ctx(), newRollout("blue", 1), metav1.CreateOptions{})
	s.must(err)
	s.defineArgo()
	s.namesAreArgos()
}

// defineArgo installs the definitions of Argo Rollouts, of the version that hack/argo pins, until the end of the test.
func (s *scenario) defineArgo() {
	s.Helper()
	definitions := filepath.Join(s.argo(), "manifests", "crds")
	s.global("apply", "--server-side", "-k", definitions)
	s.Cleanup(func() {
		output, err := s.Kubectl(context.WithoutCancel(s.Context()), "", "delete", "-k", definitions)
		if err != nil || output.Err() != nil {
			s.Errorf("the definitions of Argo Rollouts are left: %v, %v", err, output.Err())
		}
	})
	ctx, cancel := context.WithTimeout(s.ctx(), time.Minute)
	defer cancel()
	_, err := cluster.Await(ctx, s.Definition("rollouts.argoproj.io"), cluster.Condition("Established"))
	s.must(err)
}

// argo is the folder of the source of Argo Rollouts.
func (s *scenario) argo() string {
	s.Helper()
	folder, err := s.ModuleSource(s.ctx(), "hack/argo", "github.com/argoproj/argo-rollouts")
	s.must(err)
	return folder
}

// namesAreArgos fails the test unless the short names mean the Rollouts of Argo, and the whole name means ours.
func (s *scenario) namesAreArgos() {
	s.Helper()
	output, err := s.Kubectl(s.ctx(), `{"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout","metadata":{"name":"theirs","namespace":"`+s.namespace+`"},"spec":{}}`, "apply", "-f", "-")
	s.must(err)
	s.must(output.Err())
	for _, name := range []string{"rollouts", "rollout", "ro"} {
		s.eventually("kubectl get "+name+" to mean theirs", func(context.Context) bool {
			return strings.TrimSpace(s.kubectl("get", name, "-o", "name")) == "rollout.argoproj.io/theirs"
		})
	}
	if got := strings.TrimSpace(s.kubectl("get", "rollouts.sluice.dev", "-o", "name")); got != "rollout.sluice.dev/"+application {
		s.Errorf("by its whole name ours is %q", got)
	}
}
