// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The overlays are run by nobody here; what can be known of them without a node is checked.
func TestTheShippedStatefulSetFitsTheServer(t *testing.T) {
	for _, overlay := range []string{"embedded", "ha"} {
		t.Run(overlay, func(t *testing.T) { fitsTheServer(t, overlay) })
	}
}

func fitsTheServer(t *testing.T, overlay string) {
	manifest, err := os.ReadFile(filepath.Join(filepath.FromSlash("../../../artifacts/overlays"), overlay, "statefulset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var set appsv1.StatefulSet
	if err := yaml.Unmarshal(manifest, &set); err != nil {
		t.Fatal(err)
	}
	container := set.Spec.Template.Spec.Containers[0]
	options := NewOptions()
	flags := pflag.NewFlagSet("overlay", pflag.ContinueOnError)
	for _, named := range options.Flags().FlagSets {
		flags.AddFlagSet(named)
	}
	if err := flags.Parse(container.Args); err != nil {
		t.Fatalf("the server does not know a flag of the overlay: %v", err)
	}
	if set.Spec.Replicas == nil || int(*set.Spec.Replicas) != max(1, len(options.Member.All)) {
		t.Errorf("%v replicas, and the members are %v", set.Spec.Replicas, options.Member.All)
	}
	hosts, err := options.Member.hosts()
	if err != nil {
		t.Error(err)
	}
	for i := range options.Member.All {
		name := fmt.Sprint(set.Name, "-", i)
		if want := fmt.Sprintf("%s.%s.%s.svc", name, set.Spec.ServiceName, set.Namespace); hosts[name] != want {
			t.Errorf("member %s is said to be at %q, and is at %s", name, hosts[name], want)
		}
		// The name comes from the pod.
		options.Member.Name = name
		if errs := options.Member.validate(); len(errs) > 0 {
			t.Errorf("member %s: %v", name, errs)
		}
	}
	// The root of a volume belongs to root, whatever fsGroup says, and only its owner may close it to others.
	inVolume := func(mount corev1.VolumeMount) bool {
		return mount.Name == "data" && filepath.Dir(options.DataDir) == mount.MountPath
	}
	if !slices.ContainsFunc(container.VolumeMounts, inVolume) {
		t.Errorf("--data-dir=%s is not a folder directly in the volume of the data", options.DataDir)
	}
	inSnapshots := func(mount corev1.VolumeMount) bool {
		return mount.Name == "snapshots" && filepath.Dir(options.Snapshots.Dir) == mount.MountPath
	}
	if !slices.ContainsFunc(container.VolumeMounts, inSnapshots) {
		t.Errorf("--snapshot-dir=%s is not a folder directly in a volume of its own", options.Snapshots.Dir)
	}
	// Each is a claim, so that neither goes with the pod.
	for _, name := range []string{"data", "snapshots"} {
		if !slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(claim corev1.PersistentVolumeClaim) bool { return claim.Name == name }) {
			t.Errorf("there is no claim for the volume %s", name)
		}
	}
	// The rest of the disk is read-only, and the built-in audit policy is read from a temporary file.
	if !slices.ContainsFunc(container.VolumeMounts, func(mount corev1.VolumeMount) bool { return mount.MountPath == "/tmp" }) {
		t.Error("there is no folder for temporary files")
	}
}
