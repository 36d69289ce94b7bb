// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1 "k8s.io/api/apps/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/traffic/report"
)

const (
	// guide is the name of the Rollout of the guide, and of its Service.
	guide = "rollouts-demo"
	// guideReplicas is how many pods it has.
	guideReplicas = 5
	// sampled is how many requests a share is taken of: enough for the tolerances below to be five deviations.
	sampled = 5_000
	// atFirst and later are how far a share of answers may lie from that of the pods. Unit: percentage points.
	atFirst = 3
	later   = 4
)

// TestGuide plays the guide, with the manifest that it uses and the commands that it gives, under constant load.
// The share of a version in the answers is its share of the pods, and no request fails from the first ready pod
// to the end.
func TestGuide(t *testing.T) {
	s := newScenario(t)
	s.kubectl("apply", "-f", filepath.Join(s.Repository(), "artifacts", "examples", "rollouts-demo.yaml"))
	service, err := s.Host.CoreV1().Services(s.namespace).Get(s.ctx(), guide, metav1.GetOptions{})
	s.must(err)
	url := "http://" + service.Spec.ClusterIP + "/"
	_, err = cluster.Await(s.ctx(), s.Pods(s.namespace, "app="+guide), func(pods []*corev1.Pod) string {
		if cluster.PodsByTag(pods)["blue"] > 0 {
			return ""
		}
		return "none is ready"
	})
	s.must(err)
	s.reachable(url)
	traffic := s.load(url)
	s.guideStage(v1alpha1.RolloutPhaseHealthy, 8)

	s.kubectl("sluice", "set", "image", guide, guide+"=argoproj/rollouts-demo:yellow")
	s.guideStage(v1alpha1.RolloutPhasePaused, 1)
	s.routed(url, "app="+guide)
	s.share(s.sample(url, sampled), "yellow", 20, atFirst)

	s.kubectl("sluice", "promote", guide)
	for i, weight := range []float64{40, 60, 80} {
		step := int32(2*i + 3)
		s.guideStage(v1alpha1.RolloutPhasePaused, step)
		// The pauses of the guide are short, and on a busy machine asking takes longer.
		s.kubectl("sluice", "pause", guide, "--reason=measuring")
		s.guideStage(v1alpha1.RolloutPhasePaused, step)
		s.routed(url, "app="+guide)
		s.share(s.sample(url, sampled), "yellow", weight, later)
		s.kubectl("sluice", "resume", guide, "--reason=measured")
	}
	s.guideStage(v1alpha1.RolloutPhaseHealthy, 8)
	s.only(traffic, "yellow")

	s.kubectl("sluice", "set", "image", guide, guide+"=argoproj/rollouts-demo:red")
	s.guideStage(v1alpha1.RolloutPhasePaused, 1)
	s.kubectl("patch", "rollouts.sluice.dev", guide, "--subresource=abort", "--type=merge", "-p", "{}")
	s.guideStage(v1alpha1.RolloutPhaseDegraded, 0)
	s.only(traffic, "yellow")

	// Back to what is stable: no step, no pod more.
	s.kubectl("sluice", "set", "image", guide, guide+"=argoproj/rollouts-demo:yellow")
	s.guideStage(v1alpha1.RolloutPhaseHealthy, 8)
	s.only(traffic, "yellow")

	s.kubectl("sluice", "set", "image", guide, guide+"=argoproj/rollouts-demo:green")
	s.guideStage(v1alpha1.RolloutPhasePaused, 1)
	s.kubectl("sluice", "promote", guide, "--full")
	s.guideStage(v1alpha1.RolloutPhaseHealthy, 8)
	s.only(traffic, "green")

	s.kubectl("sluice", "set", "image", guide, guide+"=argoproj/rollouts-demo:orange")
	s.guideStage(v1alpha1.RolloutPhasePaused, 1)
	s.kubectl("sluice", "undo", guide)
	s.guideStage(v1alpha1.RolloutPhaseHealthy, 8)
	s.only(traffic, "green")
}

// reachable waits until the Service leads to its pods: kube-proxy hears of them a moment after us.
func (s *scenario) reachable(url string, flags ...string) {
	s.Helper()
	s.must(s.Inside(s.ctx(), s.Binary("static/traffic"), append(flags, "--url="+url, "--await")...).Run())
}

// routed waits until the Service leads to all pods that are ready, and to no other: that is when shares can be
// measured.
func (s *scenario) routed(url, labels string) {
	s.Helper()
	pods, err := s.Pods(s.namespace, labels).Now(s.ctx())
	s.must(err)
	var ready []string
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && cluster.Ready(pod) {
			ready = append(ready, pod.Name)
		}
	}
	if len(ready) == 0 {
		s.Fatal("no pod is ready that the Service could lead to")
	}
	s.reachable(url, "--pods="+strings.Join(ready, ","))
}

// guideStage waits until the Rollout of the guide is there.
func (s *scenario) guideStage(phase v1alpha1.RolloutPhase, step int32) {
	s.Helper()
	s.awaitNamed(guide, func(r *v1alpha1.Rollout) string {
		if at := ptr.Deref(r.Status.CurrentStepIndex, -1); r.Status.Phase != phase || at != step || r.Status.ObservedGeneration != r.Generation {
			return fmt.Sprintf("wanted is %s at step %d; it is %s at step %d: %s", phase, step, r.Status.Phase, at, r.Status.Message)
		}
		return ""
	})
}

// share fails the test unless a colour has this share of the answers, and none of them is an error.
func (s *scenario) share(got report.Report, colour string, want, tolerance float64) {
	s.Helper()
	s.near(got, colour, want, tolerance)
	if got.Lost() > 0 {
		s.Errorf("%d requests failed: %s", got.Lost(), got)
	}
}

// near fails the test unless a colour has this share of the answers, right or wrong.
func (s *scenario) near(got report.Report, colour string, want, tolerance float64) {
	s.Helper()
	share := got.Share(colour)
	s.Logf("%s has %.1f %% of %d answers, with %.0f %% of the pods", colour, share, got.Requests(), want)
	if math.Abs(share-want) > tolerance {
		s.Errorf("%s has %.1f %% of the answers, not %.0f ± %.0f: %s", colour, share, want, tolerance, got)
	}
}

// only waits until a colour alone answers for a while.
func (s *scenario) only(traffic *cluster.Traffic, colour string) {
	s.Helper()
	s.eventuallyAnswers(traffic, colour+" alone", func(r report.Report) bool { return r.Of(colour) == r.Requests() })
}

// eventuallyAnswers waits until the answers of half a second are as they should be.
func (s *scenario) eventuallyAnswers(traffic *cluster.Traffic, what string, are func(report.Report) bool) {
	s.Helper()
	ctx := s.ctx()
	for {
		got, err := traffic.Sample(ctx, rate/2)
		if err != nil {
			s.Fatalf("waited in vain for answers by %s: %v", what, err)
		}
		if are(got) {
			return
		}
	}
}

// TestClusterNames asks for a Service by its name: CoreDNS answers what that is.
func TestClusterNames(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	url := s.serve()
	s.deploy(newRollout("blue", 1))
	s.reachable(url)
	dns, err := s.Host.CoreV1().Services(metav1.NamespaceSystem).Get(s.ctx(), "kube-dns", metav1.GetOptions{})
	s.must(err)
	ctx, name, resolver := s.ctx(), "http://"+application+"."+s.namespace+".svc.cluster.local/", dns.Spec.ClusterIP+":53"
	// CoreDNS hears of a Service a moment after us, and remembers for some seconds that it knew nothing of it.
	s.reachable(name, "--resolver="+resolver)
	named, err := cluster.Load{URL: name, Resolver: resolver, Requests: 50}.Start(ctx, s.Cluster)
	s.must(err)
	reports, err := named.Wait(ctx)
	s.must(err)
	if sum := report.Sum(reports...); sum.Of("blue") != 50 || sum.Lost() > 0 {
		t.Errorf("asked by name: %s", sum)
	}
	for _, short := range []string{application, application + "." + s.namespace} {
		if sum := s.askFromAPod("http://"+short+"/", 50); sum.Of("blue") != 50 || sum.Lost() > 0 {
			t.Errorf("asked for %s from inside a pod: %s", short, sum)
		}
	}
}

// askFromAPod asks so many times from a pod, which finds the name as its resolv.conf says.
func (s *scenario) askFromAPod(url string, requests int) report.Report {
	s.Helper()
	asker, err := s.Host.CoreV1().Pods(s.namespace).Create(s.ctx(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "asker-"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: ptr.To(false), RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{Name: "asker", Image: "sluice.dev/traffic:dev", Args: []string{"--url=" + url, fmt.Sprintf("--requests=%d", requests)}}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.kubectl("wait", "pod/"+asker.Name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=1m")
	var reports []report.Report
	for decoder := json.NewDecoder(strings.NewReader(s.kubectl("logs", asker.Name))); ; {
		var said report.Report
		err := decoder.Decode(&said)
		if errors.Is(err, io.EOF) {
			return report.Sum(reports...)
		}
		s.must(err)
		reports = append(reports, said)
	}
}

// TestRollingUpdate has a Rollout without steps beside a Deployment: both are updated and taken back, and
// neither fails a request. Nor does one that is aborted, or promoted in full, while its pods are being replaced.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	rollout := func(play func(*scenario, *cluster.Traffic)) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			s := newScenario(t)
			url := s.serve()
			s.deploy(slowly(newRollout("blue", 4)))
			s.reachable(url)
			traffic := s.load(url)
			s.colour("yellow")
			play(s, traffic)
		}
	}
	t.Run("rollout", rollout(func(s *scenario, traffic *cluster.Traffic) {
		s.phase(v1alpha1.RolloutPhaseHealthy)
		s.only(traffic, "yellow")
		s.kubectl("sluice", "undo", application)
		s.phase(v1alpha1.RolloutPhaseHealthy)
		s.only(traffic, "blue")
	}))
	t.Run("aborted", rollout(func(s *scenario, traffic *cluster.Traffic) {
		s.moves(1, 4)
		s.kubectl("sluice", "abort", application, "--reason=not this one")
		s.phase(v1alpha1.RolloutPhaseDegraded)
		s.only(traffic, "blue")
	}))
	t.Run("promoted in full", rollout(func(s *scenario, traffic *cluster.Traffic) {
		s.moves(1, 4)
		s.promote("--full")
		s.phase(v1alpha1.RolloutPhaseHealthy)
		s.only(traffic, "yellow")
	}))
	t.Run("deployment", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t)
		url := s.serve()
		s.deployDeployment("blue", 4)
		s.reachable(url)
		traffic := s.load(url)
		s.kubectl("set", "image", "deployment/"+application, application+"="+image("yellow"))
		s.kubectl("rollout", "status", "deployment/"+application, "--timeout=2m")
		s.only(traffic, "yellow")
		s.kubectl("rollout", "undo", "deployment/"+application)
		s.kubectl("rollout", "status", "deployment/"+application, "--timeout=2m")
		s.only(traffic, "blue")
	})
}

// slowly has each pod take some time until it is ready, so that something can be done while pods are replaced.
func slowly(r *v1alpha1.Rollout) *v1alpha1.Rollout {
	container := &r.Spec.Template.Spec.Containers[0]
	container.Env = append(container.Env, corev1.EnvVar{Name: "READY_DELAY", Value: "2s"})
	return r
}

// deployDeployment is the peer of a Rollout, with the same pods and bounds.
func (s *scenario) deployDeployment(colour string, replicas int32) {
	s.Helper()
	_, err := s.Host.AppsV1().Deployments(s.namespace).Create(s.ctx(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": application}}, Template: pods(colour),
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0))}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	s.kubectl("rollout", "status", "deployment/"+application, "--timeout=2m")
}
