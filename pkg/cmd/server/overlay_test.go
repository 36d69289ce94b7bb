// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"
)

// inEach runs a test for the pods of each mode that stores Rollouts itself.
func inEach(t *testing.T, test func(t *testing.T, overlay string)) {
	for _, overlay := range []string{"embedded", "ha"} {
		t.Run(overlay, func(t *testing.T) { test(t, overlay) })
	}
}

// installation is what kubectl apply -k sends to a cluster.
func installation(t *testing.T, overlay string) resmap.ResMap {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(filepath.FromSlash("../../../artifacts/overlays"), overlay))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// decode reads the one object of a kind that has this name.
func decode(t *testing.T, made resmap.ResMap, group, version, kind, name, namespace string, into any) {
	t.Helper()
	found, err := made.GetById(resid.NewResIdWithNamespace(resid.NewGvk(group, version, kind), name, namespace))
	if err != nil {
		t.Fatal(err)
	}
	text, err := found.AsYAML()
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatal(err)
	}
}

const (
	installedNamespace = "sluice-system"
	installedName      = "sluice-apiserver"
)

func statefulSet(t *testing.T, overlay string) appsv1.StatefulSet {
	t.Helper()
	var set appsv1.StatefulSet
	decode(t, installation(t, overlay), "apps", "v1", "StatefulSet", installedName, installedNamespace, &set)
	if len(set.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("the pod has %d containers", len(set.Spec.Template.Spec.Containers))
	}
	return set
}

// The tests on a real node show that it runs; what it must be set to is held here, where a node is not needed.
func TestTheShippedStatefulSetFitsTheServer(t *testing.T) { inEach(t, fitsTheServer) }

func fitsTheServer(t *testing.T, overlay string) {
	set := statefulSet(t, overlay)
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

// The namespace takes no pod with privileges, and the pod asks for none.
func TestTheShippedPodHasNoPrivileges(t *testing.T) { inEach(t, hasNoPrivileges) }

func hasNoPrivileges(t *testing.T, overlay string) {
	var namespace corev1.Namespace
	decode(t, installation(t, overlay), "", "v1", "Namespace", installedNamespace, "", &namespace)
	for _, mode := range []string{"enforce", "audit", "warn"} {
		if level := namespace.Labels["pod-security.kubernetes.io/"+mode]; level != "restricted" {
			t.Errorf("the namespace has %q for %s, not restricted", level, mode)
		}
	}
	pod := statefulSet(t, overlay).Spec.Template.Spec
	container := pod.Containers[0]
	if pod.SecurityContext == nil || container.SecurityContext == nil {
		t.Fatal("the pod or its container has no security context")
	}
	for rule, holds := range map[string]bool{
		"runAsNonRoot":                           ptr.Deref(pod.SecurityContext.RunAsNonRoot, false),
		"a user that is not root":                ptr.Deref(pod.SecurityContext.RunAsUser, 0) > 0,
		"the default seccomp profile":            pod.SecurityContext.SeccompProfile != nil && pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"no way to more privileges":              !ptr.Deref(container.SecurityContext.AllowPrivilegeEscalation, true),
		"a read-only root file system":           ptr.Deref(container.SecurityContext.ReadOnlyRootFilesystem, false),
		"no capabilities":                        container.SecurityContext.Capabilities != nil && slices.Equal(container.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(container.SecurityContext.Capabilities.Add) == 0,
		"nothing of the node":                    !pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
		"no privileges, of the container either": !ptr.Deref(container.SecurityContext.Privileged, false) && container.SecurityContext.RunAsUser == nil && container.SecurityContext.RunAsNonRoot == nil,
	} {
		if !holds {
			t.Errorf("the pod does not have: %s", rule)
		}
	}
}

// The kubelet learns from the server when it is there, when it hangs, and when it can answer.
func TestTheShippedPodIsProbed(t *testing.T) { inEach(t, isProbed) }

func isProbed(t *testing.T, overlay string) {
	container := statefulSet(t, overlay).Spec.Template.Spec.Containers[0]
	for path, probe := range map[string][]*corev1.Probe{"/livez": {container.StartupProbe, container.LivenessProbe}, "/readyz": {container.ReadinessProbe}} {
		for _, p := range probe {
			if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != path || p.HTTPGet.Scheme != corev1.URISchemeHTTPS || p.HTTPGet.Port != intstr.FromString("https") {
				t.Errorf("a probe of %s is %+v", path, p)
			}
		}
	}
	if len(container.Ports) == 0 || container.Ports[0].Name != "https" {
		t.Errorf("the ports are %+v", container.Ports)
	}
}

// Nobody reaches anything but the port of the server.
func TestTheShippedNetworkPolicyLeavesOnePort(t *testing.T) { inEach(t, leavesOnePort) }

func leavesOnePort(t *testing.T, overlay string) {
	made, container := installation(t, overlay), statefulSet(t, overlay).Spec.Template.Spec.Containers[0]
	var policy networkingv1.NetworkPolicy
	decode(t, made, "networking.k8s.io", "v1", "NetworkPolicy", installedName, installedNamespace, &policy)
	if selector := policy.Spec.PodSelector; len(selector.MatchLabels)+len(selector.MatchExpressions) > 0 || !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
		t.Errorf("it is not for what enters any pod of the namespace: %+v", policy.Spec)
	}
	if len(policy.Spec.Ingress) != 1 || len(policy.Spec.Ingress[0].Ports) != 1 || len(policy.Spec.Ingress[0].From) > 0 {
		t.Fatalf("it is not one port, from anywhere: %+v", policy.Spec.Ingress)
	}
	if port := policy.Spec.Ingress[0].Ports[0]; ptr.Deref(port.Protocol, "") != corev1.ProtocolTCP || port.Port == nil || port.Port.IntVal != container.Ports[0].ContainerPort {
		t.Errorf("it leaves %+v, and the server has %+v", port, container.Ports[0])
	}
}
