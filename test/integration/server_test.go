// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func newRollout(name string, steps ...v1alpha1.CanaryStep) *v1alpha1.Rollout {
	labels := map[string]string{"app": name}
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: v1alpha1.RolloutSpec{
			Replicas: ptr.To[int32](3),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:blue"}}},
			},
			Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.CanaryStrategy{Steps: steps}},
		},
	}
}

func weight(percent int32) v1alpha1.CanaryStep { return v1alpha1.CanaryStep{SetWeight: &percent} }

func pause() v1alpha1.CanaryStep { return v1alpha1.CanaryStep{Pause: &v1alpha1.RolloutPause{}} }

func imagePatch(image string) []byte {
	return fmt.Appendf(nil, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":%q}]`, image)
}

// await watches a Rollout for up to a minute until it is as wanted.
func (s *instance) await(t *testing.T, name, what string, is func(*v1alpha1.Rollout) bool) *v1alpha1.Rollout {
	t.Helper()
	return s.awaitWithin(t, name, what, time.Minute, is)
}

func (s *instance) awaitWithin(t *testing.T, name, what string, within time.Duration, is func(*v1alpha1.Rollout) bool) *v1alpha1.Rollout {
	t.Helper()
	timeout := int64(within.Seconds())
	watcher, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Watch(t.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + name, TimeoutSeconds: &timeout})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	var last *v1alpha1.Rollout
	for event := range watcher.ResultChan() {
		if rollout, ok := event.Object.(*v1alpha1.Rollout); ok && event.Type != watch.Deleted {
			if last = rollout; is(rollout) {
				return rollout
			}
		}
	}
	t.Fatalf("waiting for %s to be %s; it is %+v", name, what, last)
	return nil
}

func healthy(r *v1alpha1.Rollout) bool {
	return r.Status.Phase == v1alpha1.RolloutPhaseHealthy && r.Status.ObservedGeneration == r.Generation
}

func paused(r *v1alpha1.Rollout) bool {
	return r.Status.Phase == v1alpha1.RolloutPhasePaused && r.Status.ObservedGeneration == r.Generation
}

func TestAnUpdateWithEverybodyWritingAtOnce(t *testing.T) {
	s := start(t, newNamespace(t), t.TempDir())
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	const count = 8
	for i := range count {
		if _, err := rollouts.Create(t.Context(), newRollout(fmt.Sprint("busy-", i), weight(30), pause(), weight(60), pause()), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			name := fmt.Sprint("busy-", i)
			s.await(t, name, "Healthy", healthy)
			if _, err := rollouts.Patch(t.Context(), name, types.JSONPatchType, imagePatch("app:red"), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
			s.await(t, name, "Paused", paused)
			s.meddle(t, name)
			// What the others did may still be on its way to being observed.
			if err := retry.OnError(wait.Backoff{Duration: 100 * time.Millisecond, Steps: 50}, apierrors.IsConflict, func() error {
				_, err := rollouts.Promote(t.Context(), name, &v1alpha1.Promotion{Full: true}, metav1.CreateOptions{})
				return err
			}); err != nil {
				t.Error(err)
			}
			if got := s.await(t, name, "Healthy", healthy).Status; got.StableRS != got.CurrentPodHash || got.Revision != 2 {
				t.Errorf("%s ended at revision %d with stable %s, current %s", name, got.Revision, got.StableRS, got.CurrentPodHash)
			}
		})
	}
	all.Wait()
}

// meddle does to a Rollout what several people and an autoscaler might do in the same moment. Each call
// succeeds or is refused as a conflict; none may break anything.
func (s *instance) meddle(t *testing.T, name string) {
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	calls := map[string]func() error{
		"promote": func() error {
			_, err := rollouts.Promote(t.Context(), name, &v1alpha1.Promotion{}, metav1.CreateOptions{})
			return err
		},
		"abort": func() error {
			_, err := rollouts.Abort(t.Context(), name, &v1alpha1.Abort{}, metav1.CreateOptions{})
			return err
		},
		"retry": func() error {
			_, err := rollouts.Retry(t.Context(), name, &v1alpha1.Retry{}, metav1.CreateOptions{})
			return err
		},
		"scale": func() error {
			scale, err := rollouts.GetScale(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			scale.Spec.Replicas = 5
			_, err = rollouts.UpdateScale(t.Context(), name, scale, metav1.UpdateOptions{})
			return err
		},
		"label": func() error {
			_, err := rollouts.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"labels":{"busy":"yes"}}}`), metav1.PatchOptions{})
			return err
		},
	}
	var all sync.WaitGroup
	for what, call := range calls {
		for range 3 {
			all.Go(func() {
				if err := call(); err != nil && !apierrors.IsConflict(err) {
					t.Errorf("%s of %s: %v", what, name, err)
				}
			})
		}
	}
	all.Wait()
}

func TestARestartOnTheSameDataGoesOnWhereItWas(t *testing.T) {
	namespace, dir := newNamespace(t), t.TempDir()
	s := start(t, namespace, dir)
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	created, err := rollouts.Create(t.Context(), newRollout("kept", weight(30), pause()), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "kept", "Healthy", healthy)
	if _, err := rollouts.Patch(t.Context(), "kept", types.JSONPatchType, imagePatch("app:red"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	before := s.await(t, "kept", "Paused", paused)
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the server took %v to end with watches open, want less than 10s", took)
	}

	s = start(t, namespace, dir)
	after := s.await(t, "kept", "Paused", paused)
	if after.UID != created.UID || *after.Status.CurrentStepIndex != *before.Status.CurrentStepIndex {
		t.Errorf("it came back as %s at step %d, want %s at step %d", after.UID, *after.Status.CurrentStepIndex, created.UID, *before.Status.CurrentStepIndex)
	}
	if after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the restart wrote to a Rollout that nothing happened to: %s became %s", before.ResourceVersion, after.ResourceVersion)
	}
	if _, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Promote(t.Context(), "kept", &v1alpha1.Promotion{}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.await(t, "kept", "Healthy", healthy)
}

func TestASecondServerOnTheSameDataDirectorySaysSo(t *testing.T) {
	namespace, dir := newNamespace(t), t.TempDir()
	start(t, namespace, dir)
	options := newOptions(namespace, dir)
	options.Complete()
	began := time.Now()
	err := options.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want an error that names the data directory", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

func TestNothingUnknownIsLostWithoutAWord(t *testing.T) {
	s := start(t, newNamespace(t), t.TempDir())
	const body = `{"apiVersion":"sluice.dev/v1alpha1","kind":"Rollout","metadata":{"name":"argo"},"spec":{"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"a"}]}},
		"strategy":{"canary":{"trafficRouting":{"nginx":{"stableIngress":"web"}}}}}}`
	post := func(validation string) error {
		request := s.client.SluiceV1alpha1().RESTClient().Post().Namespace(metav1.NamespaceDefault).Resource("rollouts").
			SetHeader("Content-Type", "application/json").Body([]byte(body)).Param("dryRun", metav1.DryRunAll)
		if validation != "" {
			request = request.Param("fieldValidation", validation)
		}
		return request.Do(t.Context()).Error()
	}
	var status *apierrors.StatusError
	if err := post(""); !errors.As(err, &status) || status.ErrStatus.Code != 400 || !strings.Contains(err.Error(), `"spec.strategy.canary.trafficRouting"`) {
		t.Errorf("got %v, want 400 that names the field", err)
	}
	for _, lenient := range []string{metav1.FieldValidationWarn, metav1.FieldValidationIgnore} {
		if err := post(lenient); err != nil {
			t.Errorf("fieldValidation=%s was asked for, and refused: %v", lenient, err)
		}
	}
}
