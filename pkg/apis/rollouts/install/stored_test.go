// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// stored has a Rollout with every field set as each release stores it: HEAD is that of the source as it is, v* are those of
// releases and are never written again. docs/operations.md says how one is added.
const stored = "testdata/stored"

// Whatever a release has stored can be read for ever, and means the same.
// UPDATE_COMPATIBILITY_FIXTURE_DATA=true in the environment writes HEAD anew.
func TestStoredObjectsOfEveryReleaseCanBeRead(t *testing.T) {
	scheme := runtime.NewScheme()
	Install(scheme)
	options := roundtrip.NewCompatibilityTestOptions(scheme)
	options.TestDataDir = stored
	options.Kinds = []schema.GroupVersionKind{v1alpha1.SchemeGroupVersion.WithKind("Rollout")}
	options = options.Complete(t)
	if len(options.TestDataDirsPreviousVersions) == 0 {
		t.Fatal("there is no release in " + stored)
	}
	options.Run(t)
}

// The server does not read them as they are served but as the hub.
func TestStoredObjectsOfEveryReleaseConvert(t *testing.T) {
	scheme := runtime.NewScheme()
	Install(scheme)
	files, err := filepath.Glob(filepath.Join(stored, "*", "*.pb"))
	if err != nil || len(files) < 2 {
		t.Fatalf("there are %v; %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		served, _, err := protobuf.NewSerializer(scheme, scheme).Decode(content, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		scheme.Default(served)
		hub := &rollouts.Rollout{}
		if err := scheme.Convert(served, hub, nil); err != nil || hub.Name == "" || hub.Status.CurrentPodHash == "" {
			t.Errorf("%s: it became %+v; %v", file, hub, err)
		}
	}
}

// Protobuf as Kubernetes has it drops what it does not know: an older server that writes an object takes away what a newer
// one has put into fields that the older one lacks. docs/operations.md says what follows.
func TestAnOlderServerDropsFieldsThatItDoesNotKnow(t *testing.T) {
	r := &v1alpha1.Rollout{}
	r.Name = "newer"
	r.Spec.MinReadySeconds = 7
	known, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// Field 1999, a text of three bytes, beside the fields of a Rollout.
	newer := append(append([]byte{}, known...), 0xfa, 0x7c, 0x03, 'n', 'e', 'w')
	var read v1alpha1.Rollout
	if err := read.Unmarshal(newer); err != nil {
		t.Fatalf("an object with an unknown field cannot be read: %v", err)
	}
	if read.Name != "newer" || read.Spec.MinReadySeconds != 7 {
		t.Errorf("what is known was read as %+v", read)
	}
	again, err := read.Marshal()
	if err != nil || string(again) != string(known) {
		t.Errorf("written again it is %q, want it without the unknown field; %v", again, err)
	}
}
