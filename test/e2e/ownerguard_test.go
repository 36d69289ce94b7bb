// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// What the garbage collector and the controller would do if a store that lost writes answered is worse than
// no answer. These tests wipe the store, or put an older copy of it back, while pods run.

// storeWiped wipes the data directory under running pods, with a garbage collector that relists.
func storeWiped(s *scenario) {
	s.deploy(newRollout("first", 3))
	s.deploy(newRollout("second", 2))
	s.setTag("second", "two")
	s.awaitPhase("second", v1alpha1.RolloutPhaseHealthy)
	observer := s.observeAll(5)

	s.must(s.Kill(s.ctx(), cluster.Server))
	s.must(os.RemoveAll(s.store()))
	s.must(s.Launch(s.ctx(), cluster.Server))
	s.awaitClosed(s.namespace+"/first", s.namespace+"/second")
	available := s.watchAvailable()
	s.closedToEverything(s.namespace + "/first")
	asked := s.auditLog()
	s.restartCollector()
	asked.awaitRefusedCollector(s)
	s.closedToEverything(s.namespace + "/first")
	available.check(s)
	s.nothingGone(observer)
	for _, name := range []string{"first", "second"} {
		for _, set := range s.setsOf(name) {
			if owner := metav1.GetControllerOf(set); owner == nil || owner.Name != name {
				s.Errorf("ReplicaSet %s has lost its owner while the store was refused: %v", set.Name, set.OwnerReferences)
			}
		}
	}

	s.must(s.Kill(s.ctx(), cluster.Server))
	s.must(s.Start(s.ctx(), cluster.Server, "--accept-data-loss"))
	s.eventually("an answer", func(ctx context.Context) bool {
		left, err := s.rollouts().List(ctx, metav1.ListOptions{})
		return err == nil && len(left.Items) == 0
	})
	for _, name := range []string{"first", "second"} {
		for _, set := range s.setsOf(name) {
			if len(set.OwnerReferences) > 0 {
				s.Errorf("ReplicaSet %s is not detached: %v", set.Name, set.OwnerReferences)
			}
		}
	}
	s.restartCollector()
	s.nothingGone(observer)

	// The same manifests again adopt what is there.
	s.deploy(newRollout("first", 3))
	second := newRollout("second", 2)
	second.Spec.Template.Spec.Containers[0].Image = image("two")
	s.deploy(second)
	for _, name := range []string{"first", "second"} {
		r := s.get(name)
		for _, set := range s.setsOf(name) {
			if owner := metav1.GetControllerOf(set); owner == nil || owner.UID != r.UID {
				s.Errorf("ReplicaSet %s is not adopted by the new Rollout: %v", set.Name, set.OwnerReferences)
			}
		}
	}
	s.nothingGone(observer)

	// From now on this is the store that the host knows: no flag is needed any more.
	s.must(s.Stop(s.ctx(), cluster.Server))
	s.must(s.Start(s.ctx(), cluster.Server))
	s.awaitPhase("first", v1alpha1.RolloutPhaseHealthy)
	s.nothingGone(observer)
}

// olderCopyOfStore puts yesterday's copy of the data directory back, then today's.
func olderCopyOfStore(s *scenario) {
	aged := s.deploy(newRollout("aged", 3))
	s.must(s.Stop(s.ctx(), cluster.Server))
	older, newer := filepath.Join(s.TempDir(), "older"), filepath.Join(filepath.Dir(s.store()), "newer")
	s.must(copyFolder(older, s.store()))
	s.must(s.Start(s.ctx(), cluster.Server))
	s.setTag("aged", "two")
	s.awaitPhase("aged", v1alpha1.RolloutPhaseHealthy)
	s.deploy(newRollout("younger", 1))
	observer := s.observeAll(4)

	s.must(s.Stop(s.ctx(), cluster.Server))
	s.must(os.Rename(s.store(), newer))
	s.must(copyFolder(s.store(), older))
	s.must(s.Launch(s.ctx(), cluster.Server))
	s.awaitClosed("older copy", s.namespace+"/younger")
	asked := s.auditLog()
	s.restartCollector()
	asked.awaitRefusedCollector(s)
	s.closedToEverything(s.namespace + "/younger")
	s.pods(aged, map[string]int{"two": 3})
	s.nothingGone(observer)

	s.must(s.Kill(s.ctx(), cluster.Server))
	s.must(os.RemoveAll(s.store()))
	s.must(os.Rename(newer, s.store()))
	s.must(s.Start(s.ctx(), cluster.Server))
	s.awaitPhase("younger", v1alpha1.RolloutPhaseHealthy)
	if r := s.awaitPhase("aged", v1alpha1.RolloutPhaseHealthy); r.UID != aged.UID || r.Status.Revision != 2 {
		s.Errorf("the restored Rollout has uid %s and revision %d", r.UID, r.Status.Revision)
	}
	s.nothingGone(observer)
}

// forgedOwnerReference lets a ReplicaSet claim to belong to a Rollout that there never was: no reason not
// to start.
func forgedOwnerReference(s *scenario) {
	r := s.deploy(newRollout("honest", 1))
	s.must(s.Stop(s.ctx(), cluster.Server))
	labels := map[string]string{"app": "forged"}
	_, err := s.Host.AppsV1().ReplicaSets(s.namespace).Create(s.ctx(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "forged", Labels: labels, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "sluice.dev/v1alpha1", Kind: "Rollout", Name: "never-was", UID: "11111111-2222-3333-4444-555555555555", Controller: ptr.To(true),
		}}},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image("one")}}},
			},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.must(s.Start(s.ctx(), cluster.Server))
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
}

// detach takes Rollouts away and leaves their pods, whether or not the server answers.
func detach(s *scenario) {
	r := s.deploy(newRollout("detached", 2))
	s.deploy(newRollout("other", 1))
	observer := s.observeAll(3)
	s.kubectl("sluice", "detach", "detached")
	gone(s, s.Rollout(s.namespace, "detached"))
	for _, set := range s.sets(r) {
		if len(set.OwnerReferences) > 0 {
			s.Errorf("ReplicaSet %s is not detached: %v", set.Name, set.OwnerReferences)
		}
	}
	s.must(s.Stop(s.ctx(), cluster.Server))
	s.kubectl("sluice", "detach", "--all")
	for _, set := range s.setsOf("other") {
		if len(set.OwnerReferences) > 0 {
			s.Errorf("ReplicaSet %s is not detached while the server is down: %v", set.Name, set.OwnerReferences)
		}
	}
	s.must(s.Start(s.ctx(), cluster.Server))
	s.restartCollector()
	s.nothingGone(observer)
}

// secondProcessOnDataDirectory must say so at once and end, and not disturb the first.
func secondProcessOnDataDirectory(s *scenario) {
	component, err := s.Component(cluster.Server)
	s.must(err)
	ctx, cancel := context.WithTimeout(s.ctx(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, component.Path, component.Args...)
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil || err == nil {
		s.Fatalf("a second process on the data directory goes on: %v\n%s", err, output)
	}
	s.contains(string(output), component.DataDir)
	s.deploy(newRollout("undisturbed", 1))
}

// store is the data directory of the server.
func (s *scenario) store() string {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	return component.DataDir
}

// setsOf are the ReplicaSets that a Rollout of the test made.
func (s *scenario) setsOf(name string) []*appsv1.ReplicaSet {
	s.Helper()
	found, err := s.ReplicaSets(s.namespace, "app="+name).Now(s.ctx())
	s.must(err)
	return found
}

// observeAll observes all pods of the namespace, of which there must always be so many.
func (s *scenario) observeAll(pods int) *cluster.Observer {
	s.Helper()
	observer, err := s.Observe(s.Context(), s.namespace, "", cluster.Bounds{MaxPods: pods, MinAvailable: pods})
	s.must(err)
	s.Cleanup(func() {
		if _, err := observer.Stop(); err != nil {
			s.Error(err)
		}
	})
	return observer
}

// nothingGone fails the test if a pod was deleted or restarted.
func (s *scenario) nothingGone(observer *cluster.Observer) {
	s.Helper()
	if tally, err := observer.Tally(); err != nil || len(tally.Gone) > 0 {
		s.Fatalf("pods that are gone: %v; %v", tally.Gone, err)
	}
}

// restartCollector restarts the garbage collector, which then lists everything anew, and waits until it has
// collected something: a ConfigMap whose owner is gone.
func (s *scenario) restartCollector() {
	s.Helper()
	s.must(s.Kill(s.ctx(), cluster.ControllerManager))
	s.must(s.Start(s.ctx(), cluster.ControllerManager))
	maps := s.Host.CoreV1().ConfigMaps(s.namespace)
	garbage, err := maps.Create(s.ctx(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		GenerateName:    "garbage-",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "gone", UID: types.UID("garbage-of-" + s.namespace)}},
	}}, metav1.CreateOptions{})
	s.must(err)
	s.eventually("a garbage collector at work", func(ctx context.Context) bool {
		_, err := maps.Get(ctx, garbage.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// auditLog is the server's audit log from some moment on.
type auditLog struct {
	path   string
	offset int64
}

// auditLog begins to look at the audit log, from now on.
func (s *scenario) auditLog() auditLog {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	for _, arg := range component.Args {
		if path, found := strings.CutPrefix(arg, "--audit-log-path="); found {
			info, err := os.Stat(path)
			s.must(err)
			return auditLog{path: path, offset: info.Size()}
		}
	}
	s.Fatalf("the server has no audit log: %v", component.Args)
	return auditLog{}
}

// awaitRefusedCollector waits until the garbage collector has asked for Rollouts and was answered with 503:
// before that, it is no merit that no pod was deleted.
func (l auditLog) awaitRefusedCollector(s *scenario) {
	s.Helper()
	s.eventually("the garbage collector to be refused", func(context.Context) bool {
		content, err := os.ReadFile(l.path)
		s.must(err)
		for line := range strings.Lines(string(content[min(l.offset, int64(len(content))):])) {
			var event auditv1.Event
			// The last line may not be whole yet.
			if json.Unmarshal([]byte(line), &event) == nil && strings.HasSuffix(event.User.Username, ":generic-garbage-collector") &&
				event.ObjectRef != nil && event.ObjectRef.Resource == "rollouts" && event.ResponseStatus != nil && event.ResponseStatus.Code == http.StatusServiceUnavailable {
				return true
			}
		}
		return false
	})
}

// copyFolder copies the files of a folder. The socket that is among them is not one.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}
