// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Each Rollout gets its history in its own namespace; what is left over belongs to nobody.
func TestOldReplicaSets(t *testing.T) {
	var owners []*v1alpha1.Rollout
	for i := range crowdNamespaces * crowdRollouts {
		owners = append(owners, &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprint(i / crowdRollouts), Name: rolloutName(i % crowdRollouts), UID: types.UID(fmt.Sprint(i))}})
	}
	history, total := map[types.UID]int{}, 1000
	for i := range total - len(owners) {
		rs, namespace := oldReplicaSet(i, owners), fmt.Sprint(i%crowdNamespaces)
		if *rs.Spec.Replicas != 0 || rs.Labels[rollouts.PodTemplateHashLabel] == "" || rs.Spec.Template.Labels["app"] != rs.Labels["app"] {
			t.Fatalf("ReplicaSet %d is %+v", i, rs)
		}
		owner := metav1.GetControllerOf(rs)
		if owner == nil {
			continue
		}
		history[owner.UID]++
		if owner.APIVersion != "sluice.dev/v1alpha1" || owner.Kind != "Rollout" || rs.Labels["app"] != owner.Name || !strings.HasPrefix(fmt.Sprintf("%02s", owner.UID), namespace) {
			t.Errorf("ReplicaSet %d in namespace %s belongs to %+v", i, namespace, owner)
		}
	}
	for _, owner := range owners {
		if history[owner.UID] != crowdHistory {
			t.Errorf("%s/%s has %d old ReplicaSets, not %d", owner.Namespace, owner.Name, history[owner.UID], crowdHistory)
		}
	}
	if rs := oldReplicaSet(len(owners)*crowdHistory, owners); metav1.GetControllerOf(rs) != nil {
		t.Errorf("one more belongs to somebody: %+v", rs.OwnerReferences)
	}
}

// The first frame is there when the whole tree is, while the plugin goes on.
func TestFirstFrame(t *testing.T) {
	for _, test := range []struct{ rule, prints, wrong string }{
		{"a whole tree is a frame", "printf 'Name: x\\n  ⧉ a\\n  □ b\\n  □ c\\n'; exec sleep 60", ""},
		{"half a tree is none", "printf 'Name: x\\n  ⧉ a\\n  □ b\\n'", "0 ReplicaSets and 1 pods"},
	} {
		path := filepath.Join(t.TempDir(), "plugin")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+test.prints+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		took, err := Plugin{Path: path}.firstFrame(t.Context(), "shop", "x", 1, 2)
		switch {
		case test.wrong == "" && (err != nil || took <= 0):
			t.Errorf("%s: %v, %v", test.rule, took, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: the error is %v", test.rule, err)
		}
	}
}
