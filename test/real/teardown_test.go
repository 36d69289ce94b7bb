// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package real

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/test/cluster"
)

// traces are what a control plane could leave behind on the machine.
type traces struct {
	interfaces, mounts []string
	sysctls            map[string]string
}

// kernelValues are those that a kubelet and a kube-proxy would change for the whole machine.
var kernelValues = []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward", "net/ipv4/ip_local_port_range"}

func look(t *testing.T) traces {
	t.Helper()
	found := traces{sysctls: map[string]string{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		found.interfaces = append(found.interfaces, i.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if fields := strings.Fields(line); len(fields) > 4 {
			found.mounts = append(found.mounts, fields[4])
		}
	}
	for _, name := range kernelValues {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil {
			found.sysctls[name] = string(value)
		}
	}
	return found
}

// nothingLeft fails the test unless the machine is as it was.
func nothingLeft(t *testing.T, dir string, before traces, cgroups []string) {
	t.Helper()
	after := look(t)
	if !slices.Equal(before.interfaces, after.interfaces) || !slices.Equal(before.mounts, after.mounts) {
		t.Errorf("the interfaces were %q, and are %q; the mounts were %q, and are %q", before.interfaces, after.interfaces, before.mounts, after.mounts)
	}
	for name, value := range before.sysctls {
		if after.sysctls[name] != value {
			t.Errorf("%s was %q, and is %q", name, value, after.sysctls[name])
		}
	}
	for _, cgroup := range cgroups {
		if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
			t.Errorf("the cgroup %s is left: %v", cgroup, err)
		}
	}
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// processesOf are the processes whose command lines name the folder, but for ourselves.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// One that has just ended has no command line.
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// recordedCgroups are the cgroups of the control plane in the folder.
func recordedCgroups(t *testing.T, dir string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "run", "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	cgroups := strings.Fields(string(content))
	if len(cgroups) == 0 {
		t.Fatal("it has no cgroups")
	}
	return cgroups
}

// A control plane with running pods that is taken down leaves the machine as it was, also when the first process of
// its sandbox was killed before.
func TestDownLeavesNothing(t *testing.T) {
	for _, row := range []struct {
		name string
		harm func(*testing.T, *cluster.Cluster)
	}{
		{"all is well", func(*testing.T, *cluster.Cluster) {}},
		{"the sandbox is dead", func(t *testing.T, c *cluster.Cluster) {
			first, err := c.Component(cluster.Sandbox)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(first.Process.PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before, dir := look(t), t.TempDir()
			c, err := cluster.Up(t.Context(), cluster.Options{Dir: dir, Real: true, HostOnly: true, Progress: os.Stderr})
			if err != nil {
				t.Fatal(err)
			}
			if boot, err := c.Boot(); err != nil || boot > limit {
				t.Errorf("its node was ready after %v, %v", boot, err)
			}
			cgroups := recordedCgroups(t, dir)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: application, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"app": application}}, Spec: pods("blue").Spec}
			if _, err := c.Host.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := cluster.Await(ctx, c.Pods(pod.Namespace, "app="+application), func(pods []*corev1.Pod) string {
				if cluster.PodsByTag(pods)["blue"] == 1 {
					return ""
				}
				return "the pod is not ready"
			}); err != nil {
				t.Error(err)
			}
			if running := processesOf(t, dir); len(running) < 8 {
				t.Errorf("only %d processes are found, so that none could be missed: %q", len(running), running)
			}
			row.harm(t, c)
			if err := c.Down(ctx); err != nil {
				t.Fatal(err)
			}
			nothingLeft(t, dir, before, cgroups)
		})
	}
}

// startLimit is how long a launcher may take to a moment of a start: before the first, it looks whether all binaries are
// up to date, which on a busy machine takes its time.
const startLimit = 5 * time.Minute

// The same after its launcher was killed while it started it, at whatever moment.
func TestDownAfterTheLauncherWasKilled(t *testing.T) {
	runs := func(words string) func(*testing.T, string) bool {
		return func(t *testing.T, dir string) bool {
			return slices.ContainsFunc(processesOf(t, dir), func(line string) bool { return strings.Contains(line, words) })
		}
	}
	for _, row := range []struct {
		moment string
		is     func(t *testing.T, dir string) bool
	}{
		{"the cgroups are recorded", func(_ *testing.T, dir string) bool {
			_, err := os.Stat(filepath.Join(dir, "run", "cgroups"))
			return err == nil
		}},
		{"the first server is started", runs("--etcd-servers")},
		{"the kubelet is started", runs("kubelet.yaml")},
		{"pods run", hasPods},
	} {
		t.Run(row.moment, func(t *testing.T) {
			t.Parallel()
			before, dir := look(t), t.TempDir()
			launcher := exec.CommandContext(t.Context(), local.Binary("localcluster"), "--repository="+local.Repository(), "--dir="+dir, "up", "--real")
			if err := launcher.Start(); err != nil {
				t.Fatal(err)
			}
			err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, startLimit, true, func(context.Context) (bool, error) { return row.is(t, dir), nil })
			if err != nil {
				t.Errorf("it does not come so far: %v", err)
			}
			if err := launcher.Process.Kill(); err != nil {
				t.Fatalf("it had ended before that: %v", err)
			}
			_ = launcher.Wait() // It was killed, which is an error.
			cgroups := recordedCgroups(t, dir)
			down := exec.CommandContext(t.Context(), local.Binary("localcluster"), "--repository="+local.Repository(), "--dir="+dir, "down")
			if output, err := down.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			nothingLeft(t, dir, before, cgroups)
		})
	}
}

// hasPods is true if a container of a pod runs: CoreDNS is the first one, while the launcher still installs Sluice.
func hasPods(t *testing.T, dir string) bool {
	content, err := os.ReadFile(filepath.Join(dir, "run", "cgroups"))
	if err != nil {
		return false
	}
	for _, cgroup := range strings.Fields(string(content)) {
		if containers, err := filepath.Glob(filepath.Join(cgroup, "kubepods*", "*", "pod*", "*", "cgroup.procs")); err == nil && len(containers) > 1 {
			return true
		}
	}
	return false
}
