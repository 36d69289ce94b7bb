// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestImagePatch(t *testing.T) {
	const lock = `{"metadata":{"resourceVersion":"7","uid":"uid-demo"},"spec":{"template":{"spec":`
	tests := []struct {
		rule string
		args []string
		want string
	}{
		{"only the image that changes, at the version that was read", []string{"app=app:2"},
			lock + `{"containers":[{"image":"app:2","name":"app"}]}}}}`},
		{"several containers in one write", []string{"app=app:2", "proxy=proxy:2"},
			lock + `{"containers":[{"image":"app:2","name":"app"},{"image":"proxy:2","name":"proxy"}]}}}}`},
		{"init containers too", []string{"prepare=prepare:2"},
			lock + `{"initContainers":[{"image":"prepare:2","name":"prepare"}]}}}}`},
		{"* is for all", []string{"*=all:1"},
			lock + `{"containers":[{"image":"all:1","name":"app"},{"image":"all:1","name":"proxy"}],"initContainers":[{"image":"all:1","name":"prepare"}]}}}}`},
		{"the last one of the same container holds", []string{"*=all:1", "app=app:2", "prepare=prepare:1"},
			lock + `{"containers":[{"image":"app:2","name":"app"},{"image":"all:1","name":"proxy"}]}}}}`},
		{"an image may have a digest", []string{"app=repo/app@sha256:00=="},
			lock + `{"containers":[{"image":"repo/app@sha256:00==","name":"app"}]}}}}`},
		{"nothing is written when nothing changes", []string{"app=app:1", "prepare=prepare:1"}, ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			changes, err := parseImages(test.args)
			if err != nil {
				t.Fatal(err)
			}
			patch, err := imagePatch(demo(), changes)
			if err != nil || string(patch) != test.want {
				t.Errorf("got %s, %v\nwant %s", patch, err, test.want)
			}
		})
	}
}

func TestSetImage(t *testing.T) {
	b := newBench(demo())
	b.expect(t, "set image demo app=app:2", 0, "rollout.sluice.dev/demo image updated", "")
	patch := b.sluice.Actions()[1].(clienttesting.PatchAction)
	if patch.GetPatchType() != types.StrategicMergePatchType || patch.GetSubresource() != "" {
		t.Errorf("patched %v", patch)
	}
	stored, err := b.sluice.Tracker().Get(v1alpha1.SchemeGroupVersion.WithResource("rollouts"), "shop", "demo")
	if err != nil {
		t.Fatal(err)
	}
	if containers := stored.(*v1alpha1.Rollout).Spec.Template.Spec.Containers; len(containers) != 2 || containers[0].Image != "app:2" || containers[1].Image != "proxy:1" {
		t.Errorf("stored %v", containers)
	}
}

func TestSetImageUnchanged(t *testing.T) {
	b := newBench(demo())
	b.expect(t, "set image demo app=app:1", 0, "rollout.sluice.dev/demo image unchanged", "")
	if len(b.sluice.Actions()) != 1 {
		t.Errorf("wrote what was there already: %v", b.sluice.Actions())
	}
}

func TestSetImageOfAContainerThatIsNotThere(t *testing.T) {
	newBench(demo()).expect(t, "set image demo ap=app:2", 1, "",
		`error: unable to find container named "ap" in rollout.sluice.dev/demo: there is app, prepare, proxy`)
}

func TestSetImageRetriesConflicts(t *testing.T) {
	b := newBench(demo())
	attempts := 0
	b.sluice.PrependReactor("patch", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		attempts++
		if attempts < 3 {
			return true, nil, apierrors.NewConflict(v1alpha1.Resource("rollouts"), "demo", nil)
		}
		return false, nil, nil
	})
	b.expect(t, "set image demo app=app:2", 0, "rollout.sluice.dev/demo image updated", "")
	if attempts != 3 {
		t.Errorf("%d attempts", attempts)
	}
	reads := 0
	for _, action := range b.sluice.Actions() {
		if action.GetVerb() == "get" {
			reads++
		}
	}
	if reads != 3 {
		t.Errorf("read %d times: each attempt must start from a fresh read", reads)
	}
}
