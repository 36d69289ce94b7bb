// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// ExplainREST says why a Rollout stands where it stands.
type ExplainREST struct {
	store  *genericregistry.Store
	config *Config
}

var (
	_ rest.Getter         = &ExplainREST{}
	_ rest.TableConvertor = &ExplainREST{}
)

// New returns an empty explanation.
func (*ExplainREST) New() runtime.Object { return &rollouts.RolloutExplanation{} }

// Destroy does nothing: the store is shared with REST.
func (*ExplainREST) Destroy() {}

// Get explains a Rollout. It is 503 while the caches of the controller are not warm.
func (r *ExplainREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	rollout := obj.(*rollouts.Rollout)
	snapshot, err := r.config.observe(ctx, rollout)
	if err != nil {
		return nil, err
	}
	explanation := &rollouts.RolloutExplanation{Status: rollouts.RolloutExplanationStatus{
		Phase:            rollout.Status.Phase,
		Message:          rollout.Status.Message,
		CurrentStepIndex: rollout.Status.CurrentStepIndex,
		Revision:         rollout.Status.Revision,
		Blockers:         engine.Explain(snapshot, r.config.Observer.ControllerState(ctx)),
	}}
	identify(&explanation.ObjectMeta, rollout)
	return explanation, nil
}

var blockerColumns = []metav1.TableColumnDefinition{
	{Name: "Code", Type: "string", Description: "What keeps the Rollout from going on, for machines."},
	{Name: "Since", Type: "string", Description: "How long it has."},
	{Name: "Message", Type: "string", Description: "What it is."},
	{Name: "Next", Type: "string", Description: "The call that would move the Rollout on."},
}

// ConvertToTable prints an explanation, a row for each blocker. If there is none a row says so: to a table without rows
// kubectl says that there is no such resource.
func (*ExplainREST) ConvertToTable(_ context.Context, object, _ runtime.Object) (*metav1.Table, error) {
	explanation, ok := object.(*rollouts.RolloutExplanation)
	if !ok {
		return nil, fmt.Errorf("not a RolloutExplanation: %T", object)
	}
	result := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: explanation.ResourceVersion}, ColumnDefinitions: blockerColumns}
	row := func(cells ...any) {
		result.Rows = append(result.Rows, metav1.TableRow{Object: runtime.RawExtension{Object: explanation}, Cells: cells})
	}
	if len(explanation.Status.Blockers) == 0 {
		row("-", "-", nothingBlocks(&explanation.Status), "")
	}
	for i := range explanation.Status.Blockers {
		b := &explanation.Status.Blockers[i]
		since := "<unknown>"
		if b.Since != nil {
			since = age(metav1.NewTime(b.Since.Time))
		}
		row(string(b.Code), since, b.Message, b.Next)
	}
	return result, nil
}

// nothingBlocks says what the Rollout does that nothing keeps from going on.
func nothingBlocks(st *rollouts.RolloutExplanationStatus) string {
	if st.Phase == rollouts.RolloutPhaseHealthy {
		return "nothing blocks it: it is Healthy, and there is nothing left to do"
	}
	text := "nothing blocks it: it is " + string(st.Phase)
	if st.Message != "" {
		text += " (" + st.Message + ")"
	}
	return text + " and moves on by itself"
}
