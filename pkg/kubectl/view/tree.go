// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// The icons of the kinds in the tree.
const (
	iconRollout    = "⟳"
	iconRevision   = "#"
	iconReplicaSet = "⧉"
	iconPod        = "□"
)

// The role that a ReplicaSet has in an update.
var (
	roleStable = span{Good, "stable"}
	roleCanary = span{Warning, "canary"}
)

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
// compared for what else has changed.
func Rollout(s Snapshot, now time.Time, paint Painter) []string {
	lines := header(s, paint)
	rows := [][]cell{{text("NAME"), text("KIND"), text("STATUS"), text("AGE"), text("INFO")}}
	rows = flatten(rows, tree(s, now), "", "")
	return append(append(lines, ""), layout(rows, paint)...)
}

func tree(s Snapshot, now time.Time) node {
	phase, _ := Phase(s.Rollout)
	root := node{
		icon: iconRollout, name: s.Rollout.Name, kind: "Rollout",
		status: phaseStatus(phase), age: age(s.Rollout.CreationTimestamp, now),
	}
	for _, revision := range s.revisions() {
		branch := node{icon: iconRevision, name: fmt.Sprintf("revision:%d", revision.number)}
		for _, rs := range revision.replicaSets {
			branch.children = append(branch.children, replicaSetNode(s, rs, now))
		}
		root.children = append(root.children, branch)
	}
	return root
}

func replicaSetNode(s Snapshot, rs *appsv1.ReplicaSet, now time.Time) node {
	n := node{
		icon: iconReplicaSet, name: rs.Name, kind: "ReplicaSet",
		status: replicaSetStatus(rs), age: age(rs.CreationTimestamp, now), info: cell{role(s, rs)},
	}
	for _, pod := range s.podsOf(rs) {
		summary := summarise(pod)
		n.children = append(n.children, node{
			icon: iconPod, name: pod.Name, kind: "Pod",
			status: summary.status(), age: age(pod.CreationTimestamp, now), info: text(summary.info()),
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

func role(s Snapshot, rs *appsv1.ReplicaSet) span {
	switch {
	case s.isStable(rs):
		return roleStable
	case s.isCanary(rs):
		return roleCanary
	}
	return span{}
}

// replicaSetStatus is the state of a ReplicaSet in one word.
func replicaSetStatus(rs *appsv1.ReplicaSet) status {
	for _, condition := range rs.Status.Conditions {
		if condition.Type == appsv1.ReplicaSetReplicaFailure && condition.Status == "True" {
			return status{markWarning, "ReplicaFailure"}
		}
	}
	wanted := int32(1)
	if rs.Spec.Replicas != nil {
		wanted = *rs.Spec.Replicas
	}
	switch {
	case rs.Status.AvailableReplicas < wanted || rs.Status.ObservedGeneration < rs.Generation:
		return status{markProgressing, "Progressing"}
	case wanted == 0:
		return status{markScaledDown, "ScaledDown"}
	}
	return status{markOK, "Healthy"}
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
