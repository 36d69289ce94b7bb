// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the Rollout, of a revision, of a ReplicaSet or of a pod."},
	{Name: "Kind", Type: "string", Description: "What the row is of."},
	{Name: "Status", Type: "string", Description: "Its state in one word."},
	{Name: "Ready", Type: "string", Description: "How many pods, or containers of a pod, are ready, and how many there are to be."},
	{Name: "Restarts", Type: "string", Description: "How often the containers of a pod were started anew."},
	{Name: "Age", Type: "string", Description: "The time since creation."},
	{Name: "Info", Type: "string", Description: "The step and weight of a Rollout, the role of a ReplicaSet."},
	{Name: "Images", Type: "string", Priority: 1, Description: "The images of a ReplicaSet."},
	{Name: "Message", Type: "string", Priority: 1, Description: "Why the phase of the Rollout is what it is."},
}

// ConvertToTable prints trees, several rows each: the Rollout, its revisions, their ReplicaSets and pods.
func (*REST) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	result := &metav1.Table{}
	if options, ok := tableOptions.(*metav1.TableOptions); !ok || !options.NoHeaders {
		result.ColumnDefinitions = columns
	}
	now := time.Now()
	switch typed := object.(type) {
	case *rollouts.RolloutTree:
		result.ResourceVersion = typed.ResourceVersion
		result.Rows = rows(typed, now)
	case *rollouts.RolloutTreeList:
		result.ListMeta = typed.ListMeta
		result.Rows = []metav1.TableRow{}
		for i := range typed.Items {
			result.Rows = append(result.Rows, rows(&typed.Items[i], now)...)
		}
	default:
		if !meta.IsListType(object) {
			return nil, fmt.Errorf("not a RolloutTree or a list of them: %T", object)
		}
	}
	return result, nil
}

// rows are those of one tree. A bookmark, which has no name, has none.
func rows(tree *rollouts.RolloutTree, now time.Time) []metav1.TableRow {
	if tree.Name == "" {
		return nil
	}
	out := []metav1.TableRow{rootRow(tree, now)}
	for i := range tree.Revisions {
		revision := &tree.Revisions[i]
		branch, trunk := fork(i, len(tree.Revisions), "")
		out = append(out, row(tree, branch+fmt.Sprintf("# revision:%d", revision.Revision), "Revision", "", "", "", "", "", "", ""))
		for j := range revision.ReplicaSets {
			rs := &revision.ReplicaSets[j]
			branch, trunk := fork(j, len(revision.ReplicaSets), trunk)
			out = append(out, row(tree, branch+"⧉ "+rs.Name, "ReplicaSet", rs.Status, fmt.Sprintf("%d/%d", rs.ReadyReplicas, rs.Replicas), "",
				age(rs.CreationTimestamp, now), string(rs.Role), strings.Join(rs.Images, ","), ""))
			for k := range rs.Pods {
				pod := &rs.Pods[k]
				branch, _ := fork(k, len(rs.Pods), trunk)
				out = append(out, row(tree, branch+"□ "+pod.Name, "Pod", pod.Status, fmt.Sprintf("%d/%d", pod.ReadyContainers, pod.Containers),
					fmt.Sprint(pod.Restarts), age(pod.CreationTimestamp, now), "", "", ""))
			}
		}
	}
	return out
}

func rootRow(tree *rollouts.RolloutTree, now time.Time) metav1.TableRow {
	r := &tree.Rollout
	info := fmt.Sprintf("weight %d", r.SetWeight)
	if r.Strategy == "BlueGreen" {
		info = "" // The roles of its ReplicaSets say all.
	}
	if r.StepIndex != nil && r.Steps > 0 {
		info = fmt.Sprintf("step %d/%d, %s", *r.StepIndex, r.Steps, info)
	}
	return row(tree, "⟳ "+tree.Name, "Rollout", string(r.Phase), fmt.Sprintf("%d/%d", r.ReadyReplicas, r.Replicas), "", age(tree.CreationTimestamp, now), info, "", r.Message)
}

// row is one row. Its object is the tree, whichever part of it the row is of.
func row(tree *rollouts.RolloutTree, cells ...any) metav1.TableRow {
	return metav1.TableRow{Object: runtime.RawExtension{Object: tree}, Cells: cells}
}

// fork is what a row begins with, and what the rows below it begin with.
func fork(i, n int, trunk string) (branch, below string) {
	if i == n-1 {
		return trunk + "└──", trunk + "   "
	}
	return trunk + "├──", trunk + "│  "
}

func age(created metav1.Time, now time.Time) string {
	if created.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(created.Time))
}
