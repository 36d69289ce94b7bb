// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// snapshotCommand runs sluice-apiserver snapshot as somebody does who has a shell beside the server.
func (s *scenario) snapshotCommand(args ...string) (string, error) {
	s.Helper()
	component, err := s.Component(cluster.Server)
	s.must(err)
	if args[0] != "verify" {
		args = append(args, "--data-dir="+component.DataDir)
	}
	if args[0] == "rebuild" {
		for _, arg := range component.Args {
			if strings.HasPrefix(arg, "--kubeconfig=") || strings.HasPrefix(arg, "--namespace=") {
				args = append(args, arg)
			}
		}
	}
	output, err := exec.CommandContext(s.ctx(), component.Path, append([]string{"snapshot"}, args...)...).CombinedOutput()
	s.Logf("sluice-apiserver snapshot %s\n%s", strings.Join(args, " "), output)
	return string(output), err
}

// snapshot is the same, and ends the test if it fails.
func (s *scenario) snapshot(args ...string) string {
	s.Helper()
	output, err := s.snapshotCommand(args...)
	s.must(err)
	return output
}

// drill is what is done after the loss of the disk: docs/operations.md has it with the same commands.
func drill(s *scenario) {
	uids := map[string]types.UID{}
	for _, r := range []*v1alpha1.Rollout{
		newRollout("unchanged", 3), newRollout("updated", 2), newRollout("scaled", 2), newRollout("deleted", 1),
		newRollout("halfway", 4, weight(25), pause(), weight(50), pause()),
	} {
		uids[r.Name] = s.deploy(r).UID
	}
	s.setTag("halfway", "two")
	s.stage("halfway", cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 25, Pods: map[string]int{"one": 3, "two": 1}})
	backup := filepath.Join(s.TempDir(), "backup.db")
	s.snapshot("save", backup)
	s.contains(s.snapshot("verify", backup), "Rollout.v1alpha1.sluice.dev", "complete up to revision")

	observer := s.writeMore(uids)
	s.must(s.Kill(s.ctx(), cluster.Server))
	s.must(os.RemoveAll(s.store()))
	s.must(s.Launch(s.ctx(), cluster.Server))
	s.awaitClosed("the store is empty or was wiped")
	s.must(s.Kill(s.ctx(), cluster.Server))

	if output, err := s.snapshotCommand("restore", backup); err == nil || !strings.Contains(output, "is not empty") {
		s.Errorf("a restore over a data directory that is not empty: %v", err)
	}
	s.must(os.RemoveAll(s.store()))
	s.snapshot("restore", backup)
	s.must(s.Launch(s.ctx(), cluster.Server))
	s.awaitClosed("older copy", s.namespace+"/young", s.namespace+"/younger", "snapshot rebuild")
	asked := s.auditLog()
	s.restartCollector()
	asked.awaitRefusedCollector(s)
	s.nothingGone(observer)

	s.contains(s.snapshot("rebuild", "--dry-run"), s.namespace+"/young ", s.namespace+"/younger ", "nothing was changed")
	s.closedToEverything(s.namespace + "/young")
	s.contains(s.snapshot("rebuild"), s.namespace+"/young ", "rebuilt, paused, at revision 1 with 2 replicas",
		"rebuilt, paused, at revision 2 with 4 replicas", "held, since ReplicaSet updated-", "spec.replicas is 4", "as after it was deleted", "an update was under way")
	s.awaitLastWords("etcd was replaced under the running server")
	s.must(s.Kill(s.ctx(), cluster.Server))
	s.must(s.Start(s.ctx(), cluster.Server))
	s.contains(s.snapshot("rebuild"), "nothing to rebuild")
	s.afterTheDrill(uids)
	s.restartCollector()
	s.nothingGone(observer)
	s.goOn(observer)
}

// writeMore makes the writes that the backup will lack, and observes all pods from then on.
func (s *scenario) writeMore(uids map[string]types.UID) *cluster.Observer {
	s.Helper()
	uids["young"] = s.deploy(newRollout("young", 2)).UID
	younger := newRollout("younger", 4, weight(25), pause(), weight(75), pause())
	younger.Labels = map[string]string{"lost": "yes"}
	uids["younger"] = s.deploy(younger).UID
	s.setTag("younger", "two")
	s.stage("younger", cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 25, Pods: map[string]int{"one": 3, "two": 1}})
	s.setTag("updated", "two")
	s.awaitPhase("updated", v1alpha1.RolloutPhaseHealthy)
	s.change("scaled", func(r *v1alpha1.Rollout) { r.Spec.Replicas = ptr.To[int32](4) })
	s.awaitPhase("scaled", v1alpha1.RolloutPhaseHealthy)
	_, err := s.rollouts().Promote(s.ctx(), "halfway", &v1alpha1.Promotion{}, metav1.CreateOptions{})
	s.must(err)
	s.stage("halfway", cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 3, Weight: 50, Pods: map[string]int{"one": 2, "two": 2}})
	gone := s.get("deleted")
	s.must(s.rollouts().Delete(s.ctx(), "deleted", metav1.DeleteOptions{}))
	s.eventually("all of a deleted Rollout to be gone", func(ctx context.Context) bool {
		pods, err := s.Pods(s.namespace, gone.Status.Selector).Now(ctx)
		return err == nil && len(pods) == 0 && len(s.setsOf("deleted")) == 0
	})
	return s.observeAll(3 + 2 + 4 + 4 + 2 + 4)
}

// awaitLastWords waits until the log of the server ends with something.
func (s *scenario) awaitLastWords(words string) {
	s.Helper()
	s.eventually("the last words of the server: "+words, func(context.Context) bool {
		component, err := s.Component(cluster.Server)
		s.must(err)
		lines, err := component.LastLines(5)
		s.must(err)
		return strings.Contains(lines, words)
	})
}

// afterTheDrill looks at every Rollout before anybody has resumed one.
func (s *scenario) afterTheDrill(uids map[string]types.UID) {
	s.Helper()
	for name, uid := range uids {
		if r := s.get(name); r.UID != uid {
			s.Errorf("%s came back with uid %s, want %s", name, r.UID, uid)
		}
		for _, set := range s.setsOf(name) {
			if owner := metav1.GetControllerOf(set); owner == nil || owner.UID != uid {
				s.Errorf("the owner of ReplicaSet %s is %v, want %s", set.Name, owner, uid)
			}
		}
	}
	s.pods(s.awaitPhase("unchanged", v1alpha1.RolloutPhaseHealthy), map[string]int{"one": 3})
	s.pods(s.awaitPhase("scaled", v1alpha1.RolloutPhaseHealthy), map[string]int{"one": 4})
	s.pods(s.awaitPhase("halfway", v1alpha1.RolloutPhasePaused), map[string]int{"one": 2, "two": 2})
	s.pods(s.awaitPhase("young", v1alpha1.RolloutPhasePaused), map[string]int{"one": 2})
	s.pods(s.awaitPhase("deleted", v1alpha1.RolloutPhasePaused), map[string]int{})
	younger := s.awaitPhase("younger", v1alpha1.RolloutPhasePaused)
	s.pods(younger, map[string]int{"one": 3, "two": 1})
	if steps := younger.Spec.Strategy.Canary.Steps; len(steps) != 4 || ptr.Deref(steps[2].SetWeight, 0) != 75 {
		s.Errorf("the rebuilt strategy is %+v", younger.Spec.Strategy)
	}
	s.contains(younger.Annotations[rollouts.RebuiltAnnotation], "labels and annotations of the Rollout are not known", "an update was under way")
	s.pods(s.awaitPhase("updated", v1alpha1.RolloutPhaseDegraded), map[string]int{"two": 2})
	s.contains(s.kubectl("sluice", "explain", "updated"), "Held")
}

// goOn confirms what came back: nothing of it restarts a pod that is to stay.
func (s *scenario) goOn(observer *cluster.Observer) {
	s.Helper()
	s.kubectl("sluice", "resume", "young")
	s.awaitPhase("young", v1alpha1.RolloutPhaseHealthy)
	s.kubectl("sluice", "resume", "younger")
	s.stage("younger", cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: 1, Weight: 25, Pods: map[string]int{"one": 3, "two": 1}})
	s.kubectl("delete", resource, "deleted")
	s.kubectl("sluice", "detach", "updated")
	again := newRollout("updated", 2)
	again.Spec.Template.Spec.Containers[0].Image = image("two")
	s.deploy(again)
	s.nothingGone(observer)
}
