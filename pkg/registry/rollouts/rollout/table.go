// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
)

// table prints Rollouts for kubectl get.
type table struct{}

var _ rest.TableConvertor = table{}

// columns of priority 1 are shown by -o wide only.
var columns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the Rollout."},
	{Name: "Strategy", Type: "string", Description: "How pods are replaced: Canary or BlueGreen."},
	{Name: "Status", Type: "string", Description: "The phase: Progressing, Paused, Healthy or Degraded."},
	{Name: "Step", Type: "string", Description: "How many steps of the update are done, and how many there are."},
	{Name: "Weight", Type: "string", Description: "The share of pods of the new revision that is wanted now, in percent; none with BlueGreen."},
	{Name: "Ready", Type: "string", Description: "How many pods are ready, and how many are wanted."},
	{Name: "Up-to-date", Type: "integer", Description: "How many pods are of the current revision."},
	{Name: "Available", Type: "integer", Description: "How many pods are available, of whatever revision."},
	{Name: "Age", Type: "string", Description: "The time since creation."},
	{Name: "Containers", Type: "string", Priority: 1, Description: "The names of the containers."},
	{Name: "Images", Type: "string", Priority: 1, Description: "The images of the containers."},
	{Name: "Selector", Type: "string", Priority: 1, Description: "The selector of the pods."},
	{Name: "Message", Type: "string", Priority: 1, Description: "Why the phase is what it is."},
}

// ConvertToTable prints a Rollout or a list of them.
func (table) ConvertToTable(_ context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	result := &metav1.Table{}
	if options, ok := tableOptions.(*metav1.TableOptions); !ok || !options.NoHeaders {
		result.ColumnDefinitions = columns
	}
	switch typed := object.(type) {
	case *rollouts.Rollout:
		result.ResourceVersion = typed.ResourceVersion
		result.Rows = []metav1.TableRow{row(typed)}
	case *rollouts.RolloutList:
		result.ListMeta = typed.ListMeta
		result.Rows = make([]metav1.TableRow, 0, len(typed.Items))
		for i := range typed.Items {
			result.Rows = append(result.Rows, row(&typed.Items[i]))
		}
	default:
		if !meta.IsListType(object) {
			return nil, fmt.Errorf("not a Rollout or a list of them: %T", object)
		}
	}
	return result, nil
}

func row(rollout *rollouts.Rollout) metav1.TableRow {
	status := &rollout.Status
	var containers, images []string
	for i := range rollout.Spec.Template.Spec.Containers {
		container := &rollout.Spec.Template.Spec.Containers[i]
		containers, images = append(containers, container.Name), append(images, container.Image)
	}
	return metav1.TableRow{
		Object: runtime.RawExtension{Object: rollout},
		Cells: []any{
			rollout.Name,
			strategyName(rollout),
			string(status.Phase),
			stepCell(rollout),
			weightCell(rollout),
			fmt.Sprintf("%d/%d", status.ReadyReplicas, ptr.Deref(rollout.Spec.Replicas, v1alpha1.DefaultReplicas)),
			int64(status.UpdatedReplicas),
			int64(status.AvailableReplicas),
			age(rollout.CreationTimestamp),
			strings.Join(containers, ","),
			strings.Join(images, ","),
			metav1.FormatLabelSelector(rollout.Spec.Selector),
			status.Message,
		},
	}
}

func strategyName(rollout *rollouts.Rollout) string {
	if rollout.Spec.Strategy.Canary != nil {
		return "Canary"
	}
	if rollout.Spec.Strategy.BlueGreen != nil {
		return "BlueGreen"
	}
	return "<none>"
}

// weightCell is empty with blueGreen: clients are led to one revision or the other.
func weightCell(rollout *rollouts.Rollout) string {
	if rollout.Spec.Strategy.BlueGreen != nil {
		return ""
	}
	return fmt.Sprint(engine.SetWeight(rollout))
}

func stepCell(rollout *rollouts.Rollout) string {
	canary := rollout.Spec.Strategy.Canary
	if rollout.Spec.Strategy.BlueGreen != nil {
		return ""
	}
	if canary == nil || len(canary.Steps) == 0 || rollout.Status.CurrentStepIndex == nil {
		return "-"
	}
	return fmt.Sprintf("%d/%d", *rollout.Status.CurrentStepIndex, len(canary.Steps))
}

func age(created metav1.Time) string {
	if created.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(created.Time))
}

var verbColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: "The name of the Rollout."},
	{Name: "Status", Type: "string", Description: "The phase of the Rollout."},
	{Name: "Step", Type: "string", Description: "The index of the step that the update is at."},
	{Name: "Revision", Type: "integer", Description: "The revision of the template."},
	{Name: "Message", Type: "string", Description: "Why the phase is what it is."},
}

func verbTable(body rollouts.VerbBody) *metav1.Table {
	status, step := body.VerbStatus(), "-"
	if status.CurrentStepIndex != nil {
		step = fmt.Sprint(*status.CurrentStepIndex)
	}
	return &metav1.Table{
		ListMeta:          metav1.ListMeta{ResourceVersion: body.GetResourceVersion()},
		ColumnDefinitions: verbColumns,
		Rows: []metav1.TableRow{{
			Object: runtime.RawExtension{Object: body},
			Cells:  []any{body.GetName(), string(status.Phase), step, status.Revision, status.Message},
		}},
	}
}
