// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/reliability"
)

// kubeAPIServer and hostEtcd are components of the host.
const (
	kubeAPIServer = "kube-apiserver"
	hostEtcd      = "etcd"
)

// The host itself is killed in the middle of updates, and started again on its data.
func TestTheHostIsKilled(t *testing.T) {
	s := start(t, newNamespace(t), t.TempDir())
	f := newFleet(t, s, "killed")
	defer f.stopObserving(t)
	for _, c := range []struct{ fault, component string }{
		{reliability.APIServerKilled, kubeAPIServer},
		{reliability.HostEtcdKilled, hostEtcd},
	} {
		t.Run(c.fault, func(t *testing.T) {
			row := reliability.Row{Fault: c.fault, Times: reliability.Times(), Lasting: reliability.Lasting(2*time.Second, 10*time.Second)}
			for range row.Times {
				f.update(t)
				if err := host.Kill(t.Context(), c.component); err != nil {
					t.Fatal(err)
				}
				time.Sleep(row.Lasting)
				checkDead(t)
				if err := host.Start(t.Context(), c.component); err != nil {
					t.Fatal(err)
				}
				row.Add(f.settle(t))
			}
			reliability.Record(t, row)
		})
	}
}

// checkDead tries to write to the host, which must not be done.
func checkDead(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "fault-"}}
	if _, err := host.Host.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, probe, metav1.CreateOptions{}); err == nil {
		t.Error("the host takes writes although it was killed")
	}
}
