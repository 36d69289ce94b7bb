// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// The icons of the kinds in the tree.
const (
	iconRollout    = "⟳"
	iconRevision   = "#"
	iconReplicaSet = "⧉"
	iconPod        = "□"
)

// roleTone is how the role that a ReplicaSet has in an update is shown.
func roleTone(role v1alpha1.TreeRole) Tone {
	switch role {
	case v1alpha1.TreeRoleStable, v1alpha1.TreeRoleActive:
		return Good
	case v1alpha1.TreeRoleCanary, v1alpha1.TreeRolePreview:
		return Warning
	}
	return Plain
}

// node is one row of the tree with what hangs below it.
type node struct {
	icon, name, kind string
	status           status
	age              string
	info             cell
	children         []node
}

// Rollout prints one Rollout: the header, an empty line, and the tree of its revisions, their ReplicaSets
// and their pods. Ages are those at the time now; a zero time leaves them out, so that two prints can be
// compared for what else has changed. The tree is not modified.
func Rollout(tree *v1alpha1.RolloutTree, now time.Time, paint Painter) []string {
	lines := header(tree, paint)
	rows := [][]cell{{text("NAME"), text("KIND"), text("STATUS"), text("AGE"), text("INFO")}}
	rows = flatten(rows, rolloutNode(tree, now), "", "")
	return append(append(lines, ""), layout(rows, paint)...)
}

func rolloutNode(tree *v1alpha1.RolloutTree, now time.Time) node {
	root := node{
		icon: iconRollout, name: tree.Name, kind: "Rollout",
		status: phaseStatus(tree.Rollout.Phase), age: age(tree.CreationTimestamp, now),
	}
	for _, revision := range tree.Revisions {
		branch := node{icon: iconRevision, name: fmt.Sprintf("revision:%d", revision.Revision)}
		for i := range revision.ReplicaSets {
			branch.children = append(branch.children, replicaSetNode(&revision.ReplicaSets[i], now))
		}
		root.children = append(root.children, branch)
	}
	return root
}

func replicaSetNode(rs *v1alpha1.TreeReplicaSet, now time.Time) node {
	n := node{
		icon: iconReplicaSet, name: rs.Name, kind: "ReplicaSet",
		status: replicaSetStatus(rs), age: age(rs.CreationTimestamp, now), info: cell{{roleTone(rs.Role), string(rs.Role)}},
	}
	for i := range rs.Pods {
		pod := &rs.Pods[i]
		n.children = append(n.children, node{
			icon: iconPod, name: pod.Name, kind: "Pod",
			status: podStatus(pod), age: age(pod.CreationTimestamp, now), info: text(podInfo(pod)),
		})
	}
	return n
}

// flatten appends the row of a node and those below it. Its own row begins with branch, the rows below it
// with trunk.
func flatten(rows [][]cell, n node, branch, trunk string) [][]cell {
	rows = append(rows, []cell{text(branch + n.icon + " " + n.name), text(n.kind), {n.status.span()}, text(n.age), n.info})
	for i, child := range n.children {
		if i == len(n.children)-1 {
			rows = flatten(rows, child, trunk+"└──", trunk+"   ")
		} else {
			rows = flatten(rows, child, trunk+"├──", trunk+"│  ")
		}
	}
	return rows
}

func age(created metav1.Time, now time.Time) string {
	switch {
	case now.IsZero():
		return ""
	case created.IsZero():
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(created.Time))
}
