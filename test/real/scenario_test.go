// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluiceclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
	"sluice.dev/sluice/test/traffic/report"
)

const (
	// limit is how long one wait may take.
	limit = 2 * time.Minute
	// poll is how often something is asked that cannot be watched.
	poll = 100 * time.Millisecond
	// application is the name of what is rolled out, and of its Service.
	application = "demo"
)

// scenario is a test with a namespace of its own.
type scenario struct {
	*testing.T
	*cluster.Cluster
	namespace string
}

func newScenario(t *testing.T) *scenario {
	t.Helper()
	s := &scenario{T: t, Cluster: local}
	created, err := local.Host.CoreV1().Namespaces().Create(s.ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "real-"}}, metav1.CreateOptions{})
	s.must(err)
	s.namespace = created.Name
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left as it is: namespace %s", s.namespace)
			return
		}
		if err := local.Host.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), s.namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return s
}

// ctx is the context of one wait or request.
func (s *scenario) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	s.Cleanup(cancel)
	return ctx
}

// must ends the test if there is an error.
func (s *scenario) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// kubectl runs kubectl in the namespace of the test, and returns what it prints.
func (s *scenario) kubectl(args ...string) string {
	s.Helper()
	output, err := s.Kubectl(s.ctx(), "", append(args, "--namespace="+s.namespace)...)
	s.must(err)
	s.must(output.Err())
	return output.Stdout
}

func (s *scenario) rollouts() sluiceclient.RolloutInterface {
	return s.Sluice.SluiceV1alpha1().Rollouts(s.namespace)
}

// pods is a template of pods of the demo application, ready as soon as they answer.
func pods(colour string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": application}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  ptr.To(false),
			TerminationGracePeriodSeconds: ptr.To[int64](10),
			Containers: []corev1.Container{{
				Name: application, Image: image(colour),
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				// A pod that asks for nothing gets nothing while others want all of the machine.
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}},
				// On a busy machine an answer takes its time, and a pod that is slow is not to lose its place.
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 5,
					ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromString("http")}}},
			}},
		},
	}
}

func image(colour string) string { return "sluice.dev/demoapp:" + colour }

// newRollout is one of the demo application, which takes these steps.
func newRollout(colour string, replicas int32, steps ...v1alpha1.CanaryStep) *v1alpha1.Rollout {
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: v1alpha1.RolloutSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": application}},
			Template: pods(colour),
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: steps, MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0))}},
		},
	}
}

func weight(percent int32) v1alpha1.CanaryStep { return v1alpha1.CanaryStep{SetWeight: &percent} }

func pause() v1alpha1.CanaryStep { return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{}} }

// deploy stores a Rollout and waits until it is Healthy.
func (s *scenario) deploy(r *v1alpha1.Rollout) {
	s.Helper()
	_, err := s.rollouts().Create(s.ctx(), r, metav1.CreateOptions{})
	s.must(err)
	s.phase(v1alpha1.RolloutPhaseHealthy)
}

// serve makes the Service, and returns its URL in the network of the node.
func (s *scenario) serve() string {
	s.Helper()
	created, err := s.Host.CoreV1().Services(s.namespace).Create(s.ctx(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: application},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": application},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}, metav1.CreateOptions{})
	s.must(err)
	return "http://" + created.Spec.ClusterIP + "/"
}

// load starts constant load, and fails the test if at its end any request was not answered, or by an error.
func (s *scenario) load(url string) *cluster.Traffic {
	s.Helper()
	return s.loadLosing(url, func(sum report.Report) string {
		if sum.Lost() == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %d requests failed: %s", sum.Lost(), sum.Requests(), sum)
	})
}

// loadLosing starts constant load of which some requests may be lost: the test fails if what is said of all that was
// answered, at its end, is not empty.
func (s *scenario) loadLosing(url string, tooMuch func(report.Report) string) *cluster.Traffic {
	s.Helper()
	// It goes on until the cleanup, which comes after the end of the test's own context.
	traffic, err := cluster.Load{URL: url, Rate: rate}.Start(context.WithoutCancel(s.Context()), s.Cluster)
	s.must(err)
	s.Cleanup(func() {
		reports, err := traffic.Stop()
		if err != nil {
			s.Error(err)
		}
		sum := report.Sum(reports...)
		s.Logf("%d requests, of which %d failed: %s", sum.Requests(), sum.Lost(), sum)
		if said := tooMuch(sum); said != "" {
			s.Error(said)
		}
	})
	return traffic
}

// rate is that of the load: much for an application, and little for the machine. Unit: requests a second.
const rate = 200

// sample asks so many times from now on, as fast as it is answered.
func (s *scenario) sample(url string, requests int) report.Report {
	s.Helper()
	ctx := s.ctx()
	traffic, err := cluster.Load{URL: url, Requests: requests}.Start(ctx, s.Cluster)
	s.must(err)
	reports, err := traffic.Wait(ctx)
	s.must(err)
	return report.Sum(reports...)
}

// colour starts an update to another colour.
func (s *scenario) colour(colour string) {
	s.Helper()
	s.edit(`{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"` + image(colour) + `"}`)
}

// edit changes the Rollout by JSON patches.
func (s *scenario) edit(operations string) {
	s.Helper()
	_, err := s.rollouts().Patch(s.ctx(), application, types.JSONPatchType, []byte("["+operations+"]"), metav1.PatchOptions{})
	s.must(err)
}

// await waits until nothing is lacking of the Rollout any more.
func (s *scenario) await(lacking func(*v1alpha1.Rollout) string) *v1alpha1.Rollout {
	s.Helper()
	return s.awaitNamed(application, lacking)
}

func (s *scenario) awaitNamed(name string, lacking func(*v1alpha1.Rollout) string) *v1alpha1.Rollout {
	s.Helper()
	found, err := cluster.Await(s.ctx(), s.Rollout(s.namespace, name), func(found []*v1alpha1.Rollout) string {
		if len(found) == 0 {
			return "it does not exist"
		}
		return lacking(found[0])
	})
	s.must(err)
	return found[0]
}

// phase waits until the phase, of the present spec, is this one.
func (s *scenario) phase(phase v1alpha1.RolloutPhase) *v1alpha1.Rollout {
	s.Helper()
	return s.await(func(r *v1alpha1.Rollout) string {
		if r.Status.Phase == phase && r.Status.ObservedGeneration == r.Generation {
			return ""
		}
		return fmt.Sprintf("wanted is %s, it is %s: %s", phase, r.Status.Phase, r.Status.Message)
	})
}

// pausedAt waits until the Rollout waits in the pause of this step.
func (s *scenario) pausedAt(step int32) *v1alpha1.Rollout {
	s.Helper()
	return s.await(atPause(step))
}

func atPause(step int32) func(*v1alpha1.Rollout) string {
	return func(r *v1alpha1.Rollout) string {
		at := ptr.Deref(r.Status.CurrentStepIndex, -1)
		if r.Status.Phase == v1alpha1.RolloutPhasePaused && at == step && r.Status.ObservedGeneration == r.Generation {
			return ""
		}
		return fmt.Sprintf("wanted is the pause of step %d; it is %s at step %d: %s", step, r.Status.Phase, at, r.Status.Message)
	}
}

// promote calls the verb as a person does.
func (s *scenario) promote(args ...string) {
	s.Helper()
	s.kubectl(append([]string{"sluice", "promote", application}, args...)...)
}

// eventually waits for what cannot be watched.
func (s *scenario) eventually(what string, is func(context.Context) bool) {
	s.Helper()
	err := wait.PollUntilContextCancel(s.ctx(), poll, true, func(ctx context.Context) (bool, error) { return is(ctx), nil })
	if err != nil {
		s.Fatalf("waited in vain for %s: %v", what, err)
	}
}
