// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/test/cluster"
)

// limit is how long all that is asked of the control plane may take.
const limit = 5 * time.Minute

// A control plane takes every object as it is, without warning, with unknown fields refused; and a namespace that
// enforces the level restricted takes the pods.
func TestAControlPlaneAcceptsAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := cluster.Up(ctx, cluster.Options{Dir: t.TempDir(), HostOnly: true, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	// Without these, nothing is taken into the namespace, and no pod by which it is used.
	create(ctx, t, c, rendered(t, modes["embedded"])["Namespace /"+systemNamespace])
	create(ctx, t, c, rendered(t, nil)["ServiceAccount "+systemNamespace+"/sluice-apiserver"])
	create(ctx, t, c, rendered(t, modes["ha"])["PriorityClass /sluice-apiserver"])
	for _, mode := range []string{"embedded", "ha", "external-etcd"} {
		t.Run(mode, func(t *testing.T) {
			applied(ctx, t, c, "overlay", overlay(t, mode))
			applied(ctx, t, c, "chart", rendered(t, modes[mode]))
			for name, template := range podsOf(t, rendered(t, modes[mode])) {
				template.Namespace, template.Name = systemNamespace, "restricted"
				admitted(ctx, t, c, name, template)
			}
		})
	}
	t.Run("a misspelt field is refused", func(t *testing.T) {
		all := overlay(t, "external-etcd")
		all["Deployment "+systemNamespace+"/sluice-apiserver"].Object["spec"].(map[string]any)["replicaz"] = 3
		said := kubectl(ctx, t, c, "overlay", all)
		if said.Code == 0 || !strings.Contains(said.Stderr, "spec.replicaz") {
			t.Errorf("it is taken: %+v", said)
		}
	})
}

// create makes an object that must be there before others are tried as a dry run.
func create(ctx context.Context, t *testing.T, c *cluster.Cluster, object *unstructured.Unstructured) {
	t.Helper()
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.Kubectl(ctx, string(text), "create", "--filename=-")
	if err == nil {
		err = output.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kubectl applies objects as a dry run, with the validation of the server.
func kubectl(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, all objects) cluster.Output {
	t.Helper()
	var text strings.Builder
	for _, object := range all {
		part, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(part))
	}
	path := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := c.Kubectl(ctx, "", "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "--filename="+path)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// applied holds that all objects are taken, each, without a warning.
func applied(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, all objects) {
	t.Helper()
	output := kubectl(ctx, t, c, name, all)
	if err := output.Err(); err != nil {
		t.Errorf("the %s is not taken: %v", name, err)
	}
	if output.Stderr != "" {
		t.Errorf("with the %s it is said: %s", name, output.Stderr)
	}
	if got := strings.Count(output.Stdout, "serverside-applied (server dry run)"); got != len(all) {
		t.Errorf("of %d objects of the %s %d are taken:\n%s", len(all), name, got, output.Stdout)
	}
}

// admitted holds that the namespace takes a pod of this template, and that it would not take one with a privilege.
func admitted(ctx context.Context, t *testing.T, c *cluster.Cluster, name string, template *corev1.PodTemplateSpec) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	// The volumes that a StatefulSet has claims for are added by its controller.
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: mount.Name + "-sluice-apiserver-0"},
			}})
		}
	}
	pods, dry := c.Host.CoreV1().Pods(systemNamespace), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := pods.Create(ctx, pod, dry); err != nil {
		t.Errorf("a pod of %s is refused: %v", name, err)
	}
	pod.Spec.SecurityContext.RunAsNonRoot = nil
	if _, err := pods.Create(ctx, pod, dry); !apierrors.IsForbidden(err) || !strings.Contains(fmt.Sprint(err), "restricted") {
		t.Errorf("a pod of %s that may run as root is answered with %v", name, err)
	}
}
