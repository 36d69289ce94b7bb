// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/traffic/report"
)

// ailing starts an update of five pods whose canary never becomes available, and waits until explain says so in
// these words. No client notices.
func ailing(t *testing.T, operations string, words ...string) {
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 5, weight(20), pause()))
	s.reachable(url)
	traffic := s.load(url)
	s.edit(operations)
	s.eventuallyExplained(words...)
	s.only(traffic, "blue")
	if r := s.get(); r.Status.Phase != v1alpha1.RolloutPhaseProgressing || r.Status.AvailableReplicas != 5 {
		t.Errorf("it is %s with %d available pods: %s", r.Status.Phase, r.Status.AvailableReplicas, r.Status.Message)
	}
	s.kubectl("sluice", "abort", application, "--reason=it does not start")
	s.gone()
	s.only(traffic, "blue")
	reports, err := traffic.Stop()
	s.must(err)
	if sum := report.Sum(reports...); sum.Of("blue") != sum.Requests() {
		t.Errorf("somebody else than the stable version answered: %s", sum)
	}
}

func (s *scenario) get() *v1alpha1.Rollout {
	s.Helper()
	r, err := s.rollouts().Get(s.ctx(), application, metav1.GetOptions{})
	s.must(err)
	return r
}

// eventuallyExplained waits until explain says these words.
func (s *scenario) eventuallyExplained(words ...string) {
	s.Helper()
	ctx := s.ctx()
	said := ""
	for {
		said = s.kubectl("sluice", "explain", application)
		lacking := ""
		for _, word := range words {
			if !strings.Contains(said, word) {
				lacking = word
			}
		}
		if lacking == "" {
			return
		}
		// What is explained changes with the pods.
		watcher, err := s.Host.CoreV1().Pods(s.namespace).Watch(ctx, metav1.ListOptions{})
		s.must(err)
		select {
		case <-watcher.ResultChan():
		case <-ctx.Done():
			s.Fatalf("explain does not say %q:\n%s", lacking, said)
		}
		watcher.Stop()
	}
}

// gone waits until only five pods of blue are left.
func (s *scenario) gone() {
	s.Helper()
	_, err := cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		for _, pod := range pods {
			if cluster.Tag(&pod.Spec) != "blue" || !cluster.Ready(pod) {
				return fmt.Sprintf("there is %s of %s", pod.Name, cluster.Tag(&pod.Spec))
			}
		}
		if len(pods) != 5 {
			return fmt.Sprintf("there are %d pods", len(pods))
		}
		return ""
	})
	s.must(err)
}

// setImage and setEnv are JSON patches of the template.
func setImage(image string) string {
	return `{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"` + image + `"}`
}

func setEnv(name, value string) string {
	return `{"op":"add","path":"/spec/template/spec/containers/0/env","value":[{"name":"` + name + `","value":"` + value + `"}]}`
}

// A canary that never becomes ready takes no traffic.
func TestCanaryThatIsNeverReady(t *testing.T) {
	t.Parallel()
	ailing(t, setImage(image("yellow"))+","+setEnv("READY_DELAY", "1h"), "NotReady")
}

// Nor does one that crashes.
func TestCanaryThatCrashes(t *testing.T) {
	t.Parallel()
	ailing(t, setImage(image("yellow"))+","+setEnv("ERROR_PERCENT", "a lot"), "CrashLoopBackOff")
}

// Nor does one whose image does not exist.
func TestImageThatCannotBePulled(t *testing.T) {
	t.Parallel()
	ailing(t, setImage("sluice.dev/demoapp:no-such-colour"), "Pull", "no-such-colour")
}

// A canary that answers errors does so for its share of the requests at most, and no more after the abort.
func TestErrorsAreBoundedByTheShareOfTheCanary(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 5, weight(20), pause()))
	s.reachable(url)
	traffic := s.load(url)
	s.colour("bad-red")
	s.pausedAt(1)
	s.routed(url, "app="+application)
	got := s.sample(url, sampled)
	s.share(got, "red", 20, atFirst)
	share := 100 * float64(got.Errors()) / float64(got.Requests())
	t.Logf("%.1f %% of %d answers are errors: every second of the canary's", share, got.Requests())
	if share > 20+atFirst || got.Errors() == 0 || got.Of("red") < got.Errors() {
		t.Errorf("%.1f %% of the answers are errors, with a canary of 20 %%: %s", share, got)
	}
	s.kubectl("sluice", "abort", application, "--reason=errors")
	s.gone()
	s.only(traffic, "blue")
	if after := s.sample(url, 1_000); after.Errors() > 0 || after.Of("blue") != after.Requests() {
		t.Errorf("after the abort: %s", after)
	}
}
