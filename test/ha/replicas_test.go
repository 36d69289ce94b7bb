// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

var (
	rounds   = flag.Int("ha.rounds", 9, "how often a replica is killed; every third time it loses its disk too")
	interval = flag.Duration("ha.interval", 2*time.Minute, "time from one death to the next, if what has died is back by then")
)

const (
	system   = "sluice-system"
	set      = "sluice-apiserver"
	selector = "app.kubernetes.io/name=sluice,app.kubernetes.io/component=apiserver"
	lease    = "sluice-controller"
	// settled is how long the members are left alone between two deaths, at least: what has just come back has to be known.
	settled = 8 * time.Second
	// actsWithin is how soon the controller acts again after its leader has died.
	actsWithin = 5 * time.Second
)

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := local.Kubectl(t.Context(), "", args...)
	if err == nil {
		err = output.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return output.Stdout
}

// ready waits until three pods of the server are ready, and none is left of those that were there before.
func ready(t *testing.T, before ...types.UID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	_, err := cluster.Await(ctx, local.Pods(system, selector), func(pods []*corev1.Pod) string {
		if len(pods) != 3 {
			return fmt.Sprintf("there are %d pods", len(pods))
		}
		for _, pod := range pods {
			for _, uid := range before {
				if pod.UID == uid {
					return pod.Name + " is still the former"
				}
			}
			if !cluster.Ready(pod) || pod.DeletionTimestamp != nil {
				return pod.Name + " is not ready"
			}
		}
		return ""
	})
	if err != nil {
		output, _ := local.Kubectl(t.Context(), "", "-n", system, "logs", "-l", selector, "--tail=60", "--prefix")
		t.Fatalf("%v\n%s", err, output.Stdout)
	}
}

// uids are those of the pods of the server.
func uids(t *testing.T) []types.UID {
	t.Helper()
	pods, err := local.Pods(system, selector).Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []types.UID
	for _, pod := range pods {
		found = append(found, pod.UID)
	}
	return found
}

// threeReplicas puts three in place of the one that the control plane came with, unless that has been done.
func threeReplicas(t *testing.T) {
	t.Helper()
	found, err := local.Host.AppsV1().StatefulSets(system).Get(t.Context(), set, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *found.Spec.Replicas == 3 {
		return
	}
	kubectl(t, "-n", system, "delete", "statefulset", set, "--cascade=foreground")
	kubectl(t, "apply", "-k", filepath.Join(local.Repository(), "artifacts", "overlays", "ha"))
	ready(t)
}

// Everything happens to one installation, one thing after the other, as in its life.
func TestThreeReplicas(t *testing.T) {
	namespace := "ha-test"
	kubectl(t, "create", "namespace", namespace)
	kubectl(t, "create", "namespace", namespace+"-leader")
	rollouts := local.Sluice.SluiceV1alpha1().Rollouts(namespace)
	made := map[string]types.UID{}
	for i := range writers {
		created, err := rollouts.Create(t.Context(), newRollout(application(i)), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made[created.Name] = created.UID
	}

	began := time.Now()
	threeReplicas(t)
	t.Logf("from one to three replicas in %v", time.Since(began).Round(time.Second))
	for name, uid := range made {
		if r, err := rollouts.Get(t.Context(), name, metav1.GetOptions{}); err != nil || r.UID != uid {
			t.Errorf("%s had UID %s before, and is %v now: %v", name, uid, r, err)
		}
	}

	l := startLoad(t, local.Config, namespace)
	time.Sleep(settled)
	calm := l.take()
	t.Logf("calm: %s", calm)
	if len(calm.failed) > 0 {
		t.Errorf("requests failed while nothing happened:\n%s", strings.Join(calm.failed, "\n"))
	}
	t.Logf("of %d requests a second this machine answers %.0f: %.0f a second are sent from here on", wanted, calm.rate(), l.bearable(calm))
	time.Sleep(settled)
	t.Logf("calm: %s", l.take())

	t.Run("any replica dies again and again", func(t *testing.T) {
		for round := range *rounds {
			dies(t, round%3, round%3 == 2)
		}
		f := l.take()
		bad := len(f.failed) + len(f.late)
		t.Logf("%d deaths in %v: %s; each took %.1f requests, as many as are sent in %.0f ms", *rounds, f.over.Round(time.Second), f,
			float64(bad)/float64(*rounds), 1000*float64(bad)/float64(*rounds)/f.rate())
		if f.good() < 99.9 {
			t.Errorf("want 99.9 %% answered within %v:\n%s", promised, strings.Join(append(f.failed, f.late...), "\n"))
		}
	})

	t.Run("the controller acts again soon", func(t *testing.T) { leaderDies(t, namespace) })

	t.Run("all three are replaced", func(t *testing.T) {
		l.take()
		before, began := uids(t), time.Now()
		kubectl(t, "-n", system, "rollout", "restart", "statefulset", set)
		ready(t, before...)
		f := l.take()
		t.Logf("upgraded in %v: %s", time.Since(began).Round(time.Second), f)
		if len(f.failed) > 0 {
			t.Errorf("requests failed:\n%s", strings.Join(f.failed, "\n"))
		}
	})

	l.stop()
	l.clients.Wait()
	l.verify(t, rollouts)
	for name, uid := range made {
		if r, err := rollouts.Get(t.Context(), name, metav1.GetOptions{}); err != nil || r.UID != uid {
			t.Errorf("%s had UID %s at first, and is %v now: %v", name, uid, r, err)
		}
	}
}

// dies kills the process of a replica, wipes its disk if wanted, and has it replaced: a pod whose container is killed
// often is made to wait longer and longer by the kubelet.
func dies(t *testing.T, i int, wiped bool) {
	t.Helper()
	pod, err := local.Host.CoreV1().Pods(system).Get(t.Context(), fmt.Sprint(set, "-", i), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("pkill -KILL -f -- '--member=%s( |$)'", pod.Name)
	if wiped {
		script += " && rm -rf " + filepath.Join(volume(t, i), "data")
	}
	if output, err := local.Inside(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, output)
	}
	err = local.Host.CoreV1().Pods(system).Delete(t.Context(), pod.Name, *metav1.NewDeleteOptions(0))
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	began := time.Now()
	ready(t, pod.UID)
	t.Logf("%s was killed, disk wiped: %v; ready again after %v", pod.Name, wiped, time.Since(began).Round(100*time.Millisecond))
	time.Sleep(max(settled, *interval-time.Since(began)))
}

// volume is where the volume of a replica is on the node.
func volume(t *testing.T, i int) string {
	t.Helper()
	claim, err := local.Host.CoreV1().PersistentVolumeClaims(system).Get(t.Context(), fmt.Sprintf("data-%s-%d", set, i), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := local.Host.CoreV1().PersistentVolumes().Get(t.Context(), claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case volume.Spec.Local != nil:
		return volume.Spec.Local.Path
	case volume.Spec.HostPath != nil:
		return volume.Spec.HostPath.Path
	}
	t.Fatalf("volume %s is not on the node", volume.Name)
	return ""
}

// leaderDies kills who holds the Lease, and measures when a Rollout that is created then is acted upon.
func leaderDies(t *testing.T, namespace string) {
	held, err := local.Host.CoordinationV1().Leases(system).Get(t.Context(), lease, metav1.GetOptions{})
	if err != nil || held.Spec.HolderIdentity == nil {
		t.Fatalf("nobody leads: %v, %v", held, err)
	}
	name, _, _ := strings.Cut(*held.Spec.HolderIdentity, "_")
	if output, err := local.Inside(t.Context(), "pkill", "-KILL", "-f", "--", "--member="+name+"( |$)").CombinedOutput(); err != nil {
		t.Fatalf("killing %s: %v: %s", name, err, output)
	}
	died := time.Now()
	r := newRollout("after-leader")
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := local.Sluice.SluiceV1alpha1().Rollouts(namespace+"-leader").Create(ctx, r, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = cluster.Await(ctx, local.Rollout(namespace+"-leader", r.Name), func(found []*v1alpha1.Rollout) string {
		if len(found) == 0 || found[0].Status.ObservedGeneration == 0 {
			return "nobody has acted upon it"
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(died)
	t.Logf("the controller acted %v after its leader %s was killed", took.Round(10*time.Millisecond), name)
	if took > actsWithin {
		t.Errorf("want it within %v", actsWithin)
	}
	ready(t)
}
