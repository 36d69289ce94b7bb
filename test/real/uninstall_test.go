// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// apiServices are the registrations of API groups.
var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

const apiService = "v1alpha1.sluice.dev"

// overlay is what is installed.
func (s *scenario) overlay() string { return filepath.Join(s.Repository(), Overlay) }

// play runs a command of the documents, with the whole path of what it names in the source tree.
func (s *scenario) play(command string) string {
	s.Helper()
	args := strings.Fields(command)
	for i, arg := range args {
		if arg == Overlay {
			args[i] = s.overlay()
		}
	}
	return s.global(args...)
}

// global runs kubectl without a namespace.
func (s *scenario) global(args ...string) string {
	s.Helper()
	output, err := s.Kubectl(s.ctx(), "", args...)
	s.must(err)
	s.must(output.Err())
	return output.Stdout
}

// install does what docs/install.md says.
func (s *scenario) install() {
	s.Helper()
	for _, command := range Install {
		s.play(command)
	}
	s.served()
}

// The registration is kept right by the server itself: a wrong authority in it, and a certificate that is lost, are
// made good.
func TestRegistrationIsKeptRight(t *testing.T) {
	s := newScenario(t)
	_, err := s.Dynamic.Resource(apiServices).Patch(s.ctx(), apiService, types.MergePatchType, []byte(`{"spec":{"caBundle":"`+"Zm9yZWlnbgo="+`"}}`), metav1.PatchOptions{})
	s.must(err)
	s.eventually("the authority to be put right", func(ctx context.Context) bool {
		object, err := s.Dynamic.Resource(apiServices).Get(ctx, apiService, metav1.GetOptions{})
		return err == nil && !strings.Contains(fmt.Sprint(object.Object["spec"]), "Zm9yZWlnbgo=")
	})
	s.global("wait", "apiservice/"+apiService, "--for=condition=Available", "--timeout=2m")
	s.must(s.Host.CoreV1().Secrets(systemNamespace).Delete(s.ctx(), "sluice-apiserver-serving", metav1.DeleteOptions{}))
	before := s.server()
	s.must(s.Host.CoreV1().Pods(systemNamespace).Delete(s.ctx(), serverPod, metav1.DeleteOptions{}))
	s.restarted(before.UID)
	s.global("wait", "apiservice/"+apiService, "--for=condition=Available", "--timeout=2m")
	s.served()
}

// uninstalled has pods of a Rollout serve while Sluice is taken away and put back: the same pods, all the time.
func uninstalled(t *testing.T, uninstall func(*scenario)) *scenario {
	t.Helper()
	s := newScenario(t)
	url := s.serve()
	manifest := newRollout("blue", 3)
	s.deploy(manifest.DeepCopy())
	s.reachable(url)
	traffic := s.load(url)
	before := s.uids()
	s.Cleanup(func() { s.apiIsBack() })

	uninstall(s)
	s.noneTerminates()
	after := s.uids()
	if !maps.Equal(before, after) {
		t.Errorf("the pods were %v, and are %v", before, after)
	}
	s.namespaceGoes()

	s.install()
	_, err := s.rollouts().Create(s.ctx(), manifest.DeepCopy(), metav1.CreateOptions{})
	s.must(err)
	s.phase(v1alpha1.RolloutPhaseHealthy)
	if again := s.uids(); !maps.Equal(before, again) {
		t.Errorf("a Rollout of the same template did not take the pods over: they were %v, and are %v", before, again)
	}
	s.only(traffic, "blue")
	return s
}

// collectorWatches waits until the garbage collector of the host watches Rollouts: to let one go that is deleted in
// the foreground it must have seen it. Before, it asks for the owner of each new ReplicaSet by name, again and again,
// once even after it has seen it, and takes the 404 of a group that is gone for the owner's absence; docs/install.md
// warns.
func (s *scenario) collectorWatches() {
	s.Helper()
	probe := newRollout("blue", 0)
	probe.Name = "probe"
	probe.Spec.Selector.MatchLabels["app"], probe.Spec.Template.Labels["app"] = probe.Name, probe.Name
	_, err := s.rollouts().Create(s.ctx(), probe, metav1.CreateOptions{})
	s.must(err)
	s.must(s.rollouts().Delete(s.ctx(), probe.Name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}))
	s.eventually("the garbage collector to watch Rollouts", func(ctx context.Context) bool {
		_, err := s.rollouts().Get(ctx, probe.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// apiIsBack installs Sluice again if a test failed between.
func (s *scenario) apiIsBack() {
	if !s.Failed() {
		return
	}
	// Tests that come after are not to fail for this one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), 2*time.Minute)
	defer cancel()
	output, err := s.Kubectl(ctx, "", "apply", "-k", s.overlay())
	if err = errors.Join(err, output.Err()); err == nil {
		_, err = cluster.Await(ctx, s.APIService(apiService), cluster.Condition("Available"))
	}
	if err != nil {
		s.Errorf("Sluice is not back: %v", err)
	}
}

// noneTerminates waits until no namespace of Sluice is left, and fails the test if one hangs.
func (s *scenario) noneTerminates() {
	s.Helper()
	s.eventually("the namespace of Sluice to go", func(ctx context.Context) bool {
		_, err := s.Host.CoreV1().Namespaces().Get(ctx, systemNamespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// namespaceGoes makes a namespace and deletes it: which hangs in a cluster that has a group nobody serves.
func (s *scenario) namespaceGoes() {
	s.Helper()
	created, err := s.Host.CoreV1().Namespaces().Create(s.ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "real-passing-"}}, metav1.CreateOptions{})
	s.must(err)
	s.must(s.Host.CoreV1().Namespaces().Delete(s.ctx(), created.Name, metav1.DeleteOptions{}))
	s.eventually("a namespace to go", func(ctx context.Context) bool {
		_, err := s.Host.CoreV1().Namespaces().Get(ctx, created.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// As docs/install.md says: detach, the APIService, the rest. It waits for nothing before: in this order it is safe while
// the garbage collector does not watch Rollouts yet, too. It is then installed where Argo Rollouts is already.
func TestUninstall(t *testing.T) {
	s := uninstalled(t, func(s *scenario) {
		for _, command := range Uninstall {
			s.play(command)
		}
		s.defineArgo()
	})
	s.namesAreArgos()
}

// In the wrong order, all at once: pods stay as well. Their owners are gone, so they have to be detached before
// Sluice is installed again.
func TestUninstallInTheWrongOrder(t *testing.T) {
	newScenario(t).collectorWatches()
	uninstalled(t, func(s *scenario) {
		s.play(UninstallInTheWrongOrder)
		s.noneTerminates()
		s.ownedByNobodyThatIs()
		s.global("sluice", "detach", "--all", "--all-namespaces")
	})
}

// ownedByNobodyThatIs fails the test unless the ReplicaSets still name their Rollout, and live.
func (s *scenario) ownedByNobodyThatIs() {
	s.Helper()
	sets, err := s.ReplicaSets(s.namespace, "app="+application).Now(s.ctx())
	s.must(err)
	if len(sets) == 0 || slices.ContainsFunc(sets, func(set *appsv1.ReplicaSet) bool {
		return metav1.GetControllerOf(set) == nil || set.GetDeletionTimestamp() != nil
	}) {
		s.Errorf("%d ReplicaSets are left, or one of them without its owner", len(sets))
	}
}
