// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// What is installed.
const (
	systemNamespace = "sluice-system"
	serverPod       = "sluice-apiserver-0"
	serverSet       = "sluice-apiserver"
)

// restarted waits until the pod of the server is another one than before, and ready.
func (s *scenario) restarted(before types.UID) *corev1.Pod {
	s.Helper()
	found, err := cluster.Await(s.ctx(), s.Pods(systemNamespace, "app.kubernetes.io/component=apiserver"), func(pods []*corev1.Pod) string {
		switch {
		case len(pods) != 1:
			return "there is not one pod"
		case pods[0].UID == before:
			return "it is the same pod"
		case !cluster.Ready(pods[0]):
			return "it is not ready"
		}
		return ""
	})
	s.must(err)
	return found[0]
}

func (s *scenario) server() *corev1.Pod {
	s.Helper()
	pod, err := s.Host.CoreV1().Pods(systemNamespace).Get(s.ctx(), serverPod, metav1.GetOptions{})
	s.must(err)
	return pod
}

// served waits until Rollouts can be read again.
func (s *scenario) served() {
	s.Helper()
	s.eventually("the API of Rollouts", func(ctx context.Context) bool {
		_, err := s.rollouts().List(ctx, metav1.ListOptions{})
		return err == nil
	})
}

// interrupted does something to the cluster twice in an update under load: while it stands at a pause, and at once after
// a promote, while its pods are being replaced. It goes on both times: no request fails, no step is lost or
// skipped, and the update ends.
func interrupted(t *testing.T, atPause, inMidMove func(*scenario)) {
	s := newScenario(t)
	url := s.serve()
	s.deploy(slowly(newRollout("blue", 4, weight(25), pause(), weight(75), pause(), weight(100), pause())))
	s.reachable(url)
	traffic := s.load(url)
	s.colour("yellow")
	s.pausedAt(1)
	before := s.get()
	same := func() {
		s.Helper()
		if after := s.get(); after.UID != before.UID || after.Status.Revision != before.Status.Revision || after.Status.CurrentPodHash != before.Status.CurrentPodHash {
			s.Errorf("another Rollout came back: revision %d, then %d", before.Status.Revision, after.Status.Revision)
		}
	}
	atPause(s)
	s.served()
	s.pausedAt(1)
	same()

	s.promote()
	s.moves(1, 3)
	inMidMove(s)
	s.served()
	s.pausedAt(3)
	same()
	s.standing("blue", 1, "yellow", 3)
	s.promote()
	s.pausedAt(5)
	s.promote()
	s.phase(v1alpha1.RolloutPhaseHealthy)
	s.only(traffic, "yellow")
}

// moves waits until pods are being replaced: some pods of yellow are ready, not all yet that are to be, and one has
// been made that is not.
func (s *scenario) moves(some, target int) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		got := cluster.PodsByTag(pods)
		switch {
		case got["yellow"] >= target:
			s.Fatalf("all %d pods of yellow are ready already", target)
		case got["yellow"] < some || got["not available"] == 0:
			return fmt.Sprintf("no pod is being replaced, with %d of yellow: %v", some, got)
		}
		return ""
	})
	s.must(err)
}

// standing waits until there are so many ready pods of two colours, and none else.
func (s *scenario) standing(one string, ones int, other string, others int) {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		if got := cluster.PodsByTag(pods); got[one] != ones || got[other] != others || got["not available"] != 0 {
			return fmt.Sprintf("wanted are %d pods of %s and %d of %s, there are %v", ones, one, others, other, got)
		}
		return ""
	})
	s.must(err)
}

func TestServerIsKilled(t *testing.T) {
	kill := func(s *scenario) {
		before := s.server()
		s.must(s.Host.CoreV1().Pods(systemNamespace).Delete(s.ctx(), serverPod, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
		s.restarted(before.UID)
	}
	interrupted(t, kill, kill)
}

func TestContainerdRestarts(t *testing.T) {
	restart := func(s *scenario) {
		s.must(s.Kill(s.ctx(), cluster.Containerd))
		s.must(s.Cluster.Start(s.ctx(), cluster.Containerd))
		s.nodeReady()
	}
	interrupted(t, restart, restart)
}

func TestKubeletRestarts(t *testing.T) {
	restart := func(s *scenario) {
		s.must(s.Kill(s.ctx(), cluster.Kubelet))
		s.must(s.Cluster.Start(s.ctx(), cluster.Kubelet))
		s.nodeReady()
	}
	interrupted(t, restart, restart)
}

// nodeReady waits until the node says so since now.
func (s *scenario) nodeReady() {
	s.Helper()
	began := metav1.Now().Rfc3339Copy()
	s.eventually("the node", func(ctx context.Context) bool {
		nodes, err := s.Host.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil || len(nodes.Items) != 1 {
			return false
		}
		for _, condition := range nodes.Items[0].Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue && began.Before(&condition.LastHeartbeatTime)
			}
		}
		return false
	})
}

// TestServerIsUpgraded gives the StatefulSet an image with a newer version of the server at a pause and, while pods
// move, that which it had.
func TestServerIsUpgraded(t *testing.T) {
	s := newScenario(t)
	was, version := s.server().Spec.Containers[0].Image, s.version()
	if version == newerVersion {
		t.Fatalf("it is %s before the upgrade", version)
	}
	interrupted(t, func(s *scenario) { s.upgrade(newerImage, newerVersion) }, func(s *scenario) { s.upgrade(was, version) })
}

// version is that which the server says it has, in the description of its API.
func (s *scenario) version() string {
	s.Helper()
	var description struct {
		Info struct{ Version string }
	}
	s.must(json.Unmarshal([]byte(s.global("get", "--raw", "/openapi/v3/apis/sluice.dev/v1alpha1")), &description))
	return description.Info.Version
}

// upgrade gives the server another image, and waits until that is what answers.
func (s *scenario) upgrade(image, version string) {
	s.Helper()
	before := s.server()
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"sluice-apiserver","image":"` + image + `"}]}}}}`
	_, err := s.Host.AppsV1().StatefulSets(systemNamespace).Patch(s.ctx(), serverSet, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
	if after := s.restarted(before.UID); after.Spec.Containers[0].Image != image {
		s.Errorf("the server runs %s", after.Spec.Containers[0].Image)
	}
	s.served()
	s.eventually("version "+version, func(context.Context) bool { return s.version() == version })
}

const (
	// newerImage is that of another version of the server, which the launcher builds for upgrades.
	newerImage = "sluice.dev/sluice-apiserver:newer"
	// newerVersion is what that says it is.
	newerVersion = "v99.0.0-newer"
)
