// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/cmd/server"
	"sluice.dev/sluice/test/reliability"
)

// noSpace is what whoever writes is told when our etcd has reached its quota.
const noSpace = "database space exceeded"

// refusedTime is after how long no room is to be expected any more: the server looks for some every 5 s.
const refusedTime = 8 * time.Second

// Our etcd reaches its quota in the middle of updates, full of what is needed. Reads and deletions go on, and when
// something is deleted, so do the updates.
func TestOurStoreIsFull(t *testing.T) {
	s := start(t, newNamespace(t), t.TempDir(), func(o *server.Options) { o.EtcdQuotaBytes = 16 << 20 })
	f := newFleet(t, s, "full")
	defer f.stopObserving(t)
	row := reliability.Row{Fault: reliability.FullOfRollouts, Times: reliability.Times(), Lasting: reliability.Lasting(2*time.Second, 20*time.Second)}
	for round := range row.Times {
		f.update(t)
		stored := s.fill(t)
		time.Sleep(row.Lasting)
		list, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: large.String()})
		if err != nil || len(list.Items) < stored {
			t.Fatalf("%d large Rollouts were acknowledged, %d are there: %v", stored, len(list.Items), err)
		}
		for i := range list.Items {
			if err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Delete(t.Context(), list.Items[i].Name, metav1.DeleteOptions{}); err != nil {
				t.Fatalf("deleting from a full store: %v", err)
			}
		}
		f.awaitRoom(t, round)
		row.Add(f.settle(t))
	}
	if row.Failed == 0 {
		t.Error("no write of anybody was refused")
	}
	reliability.Record(t, row)
}

// awaitRoom waits until somebody can write again. A patch that changes nothing is not a write, so each round has its own.
func (f *fleet) awaitRoom(t *testing.T, round int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/room":"%d"}}}`, round)
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := f.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Patch(ctx, f.waiting, types.MergePatchType, patch, metav1.PatchOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("there is room, and no write is let in: %v", err)
	}
}

// large is the label of the Rollouts that fill a store.
var large = labels.Set{"large": "yes"}

// fill creates large Rollouts until none is taken any more, not even after the server has made what room it can, and
// returns how many were acknowledged.
func (s *instance) fill(t *testing.T) (stored int) {
	t.Helper()
	refusedSince := time.Time{}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		r := newRollout(fmt.Sprint("large-", stored))
		r.Labels, r.Spec.Replicas, r.Spec.Paused = large, ptr.To[int32](0), true
		r.Annotations = map[string]string{"example.com/large": strings.Repeat("x", 200<<10)}
		_, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Create(ctx, r, metav1.CreateOptions{})
		switch {
		// etcd refuses the write by which the quota is reached only after it has made it.
		case err == nil || apierrors.IsAlreadyExists(err):
			stored++
			refusedSince = time.Time{}
			return false, nil
		case !strings.Contains(err.Error(), noSpace):
			return false, fmt.Errorf("want a refusal that says %q, got %w", noSpace, err)
		case refusedSince.IsZero():
			refusedSince = time.Now()
		}
		return time.Since(refusedSince) > refusedTime, nil
	})
	if err != nil {
		t.Fatalf("with %d large Rollouts: %v", stored, err)
	}
	return stored
}
