// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

// calm is how long after an abort clients may still see errors: a pod of the stable version takes the place of the
// canary first, which then goes on answering for two seconds, and all that takes its time on a busy machine.
const calm = 20 * time.Second

// anything is for load of which the test itself says how much may be lost.
func anything(report.Report) string { return "" }

// abortEnds aborts an update whose canary loses requests: soon after that the stable version answers all of them.
func (s *scenario) abortEnds(url string, traffic *cluster.Traffic, reason string) {
	s.Helper()
	s.kubectl("sluice", "abort", application, "--reason="+reason)
	aborted := time.Now()
	s.gone()
	s.only(traffic, "blue")
	if after := s.sample(url, 1_000); after.Lost() > 0 || after.Of("blue") != after.Requests() {
		s.Errorf("after the abort: %s", after)
	}
	last := time.Duration(0)
	for _, said := range traffic.Reports() {
		if said.Lost() > 0 {
			last = said.Time.Sub(aborted)
		}
	}
	s.Logf("the last request was lost %v after the abort", last.Round(time.Millisecond))
	if last > calm {
		s.Errorf("requests were lost until %v after the abort; %v are allowed", last, calm)
	}
}

// bounded fails the test unless some of the requests of the canary's time were lost, and no greater share of all than
// what the canary has of the pods.
func (s *scenario) bounded(got report.Report, percent float64) {
	s.Helper()
	share := 100 * float64(got.Lost()) / float64(got.Requests())
	s.Logf("%.1f %% of %d requests were lost, with a canary of %.0f %%", share, got.Requests(), percent)
	if got.Lost() == 0 || share > percent+atFirst {
		s.Errorf("%.1f %% of the requests were lost, with a canary of %.0f %%: %s", share, percent, got)
	}
}

// A canary that answers errors does so for its share of the requests at most, and no more after the abort.
func TestErrorsAreBoundedByTheShareOfTheCanary(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 5, weight(20), pause()))
	s.reachable(url)
	// An error is an answer; none may be missing.
	traffic := s.loadLosing(url, func(sum report.Report) string {
		if sum.Failed() == 0 {
			return ""
		}
		return fmt.Sprintf("%d requests were not answered: %s", sum.Failed(), sum)
	})
	s.colour("bad-red")
	s.pausedAt(1)
	s.routed(url, "app="+application)
	got := s.sample(url, sampled)
	s.near(got, "red", 20, atFirst)
	s.bounded(got, 20)
	if got.Failed() > 0 || got.Of("red") < got.Errors() {
		t.Errorf("every second answer of the canary is an error, and nothing else fails: %s", got)
	}
	s.abortEnds(url, traffic, "errors")
}

// A canary that crashes after it was ready, again and again, takes no more than its share of the requests with it,
// and none after the abort.
func TestCanaryThatCrashesWhenItServes(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 5, weight(20), pause()))
	s.reachable(url)
	traffic := s.loadLosing(url, anything)
	began := time.Now()
	s.edit(setImage(image("yellow")) + "," + setEnv("CRASH_AFTER", "4s"))
	s.pausedAt(1)
	crashed, err := cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+application), func(pods []*corev1.Pod) string {
		for _, pod := range pods {
			for _, container := range pod.Status.ContainerStatuses {
				if cluster.Tag(&pod.Spec) == "yellow" && container.RestartCount >= 2 {
					return ""
				}
			}
		}
		return "the canary has not crashed twice"
	})
	s.must(err)
	s.bounded(report.Sum(report.Between(traffic.Reports(), began, time.Now())...), 20)
	for _, pod := range crashed {
		for _, container := range pod.Status.ContainerStatuses {
			if cluster.Tag(&pod.Spec) == "blue" && container.RestartCount > 0 {
				t.Errorf("%s, of the stable version, has crashed", pod.Name)
			}
		}
	}
	s.abortEnds(url, traffic, "it crashes")
}
