// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// columns are the columns of the tables, and what each of them calls.
var columns = map[string]struct{ verb, body string }{
	"promote":          {"promote", "{}"},
	"promote full":     {"promote", `{"full":true}`},
	"promote override": {"promote", `{"override":true}`},
	"abort":            {"abort", "{}"},
	"retry":            {"retry", "{}"},
	"pause":            {"pause", "{}"},
	"resume":           {"resume", "{}"},
	"restart":          {"restart", "{}"},
	"undo":             {"undo", "{}"},
}

// explainWithin is how long the caches may take to hear of pods.
const explainWithin = 20 * time.Second

// cellManager is who calls, as the owner of fields.
const cellManager = "cells"

// specVerbs are the verbs that change the spec, and own what they change.
var specVerbs = []string{"pause", "resume", "restart", "undo"}

// Every cell of the table of docs/verbs.md is what happens: each verb, in each state, first as a dry run by PATCH,
// then for good by POST. What succeeds has a Rollout of its own.
func TestEveryCellOfVerbsAndStates(t *testing.T) {
	s := together(t)
	caller := s.releaser("caller")
	table := s.table("docs/verbs.md", "state", "promote", "promote full", "abort", "retry", "pause", "resume", "restart", "undo", "plan", "explain")
	if got, want := slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(states)); !slices.Equal(got, want) {
		t.Fatalf("the table has the states %q, and the test knows %q", got, want)
	}
	for state, row := range table {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			of := &scenario{t, s.Cluster, s.namespace}
			shared := of.rowHolds(caller, states[state], row)
			of.as(caller).plans(shared, row["plan"])
			of.as(caller).explains(shared, row["explain"])
		})
	}
}

// as is the same test as somebody else.
func (s *scenario) as(caller *scenario) *scenario { return &scenario{s.T, caller.Cluster, s.namespace} }

// rowHolds holds the cells of a row against Rollouts that are brought to a state. It returns the name of one that
// is in that state still, since it was only asked for what is refused.
func (s *scenario) rowHolds(caller *scenario, state state, row map[string]string) (shared string) {
	s.Helper()
	shared = state.prefix + "-refuses"
	names := map[string]string{shared: ""}
	var refused []string
	for column := range columns {
		switch text, there := row[column]; {
		case there && s.expected(text).code != 0:
			refused = append(refused, column)
		case there:
			names[state.prefix+"-"+strings.ReplaceAll(column, " ", "-")] = column
		}
	}
	s.bring(state, slices.Sorted(maps.Keys(names)))
	s.as(caller).reads(shared)
	for name, column := range names {
		if name != shared {
			s.as(caller).cellHolds(name, column, row[column])
		}
	}
	for _, column := range refused {
		s.as(caller).cellHolds(shared, column, row[column])
	}
	if lacking := state.stages[len(state.stages)-1].until(s.get(shared)); lacking != "" {
		s.Errorf("%s has left its state: wanted is %s", shared, lacking)
	}
	return shared
}

// cellHolds fails the test unless a call is answered as a cell says, and does what it was answered.
func (s *scenario) cellHolds(name, column, text string) {
	s.Helper()
	verb, body, want := columns[column].verb, columns[column].body, s.expected(text)
	before := s.get(name)
	if wrong := want.differs(http.MethodPatch, s.dry(http.MethodPatch, name, verb, body)); wrong != "" {
		s.Errorf("%s of %s, as a dry run: %s", column, name, wrong)
	}
	s.unchanged(before)
	got := s.call(http.MethodPost, name, verb, body, "fieldManager", cellManager)
	if wrong := want.differs(http.MethodPost, got); wrong != "" {
		s.Errorf("%s of %s: %s", column, name, wrong)
		return
	}
	if want.code != 0 {
		s.unchanged(before)
		return
	}
	after := s.get(name)
	if n := len(after.Status.Actions); n != len(before.Status.Actions)+1 || !apiequality.Semantic.DeepEqual(after.Status.Actions[n-1], *got.verb.Status.Action) {
		s.Errorf("%s of %s: the action answered is %+v, and stored are %+v", column, name, got.verb.Status.Action, after.Status.Actions)
	}
	changes, changed := slices.Contains(specVerbs, verb), after.Generation != before.Generation
	owns := slices.ContainsFunc(after.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == cellManager })
	// What resume and undo change may be nothing but the end of a field, which nobody owns then.
	mustOwn := verb == "pause" || verb == "restart"
	if changed != changes || owns && !changes || !owns && mustOwn {
		s.Errorf("%s of %s: from generation %d to %d, and it owns fields: %v", column, name, before.Generation, after.Generation, owns)
	}
}

// reads fails the test unless a GET of every verb tells the state that the verb would act on.
func (s *scenario) reads(name string) {
	s.Helper()
	r := s.get(name)
	want := v1alpha1.VerbStatus{Phase: r.Status.Phase, CurrentStepIndex: r.Status.CurrentStepIndex, Revision: r.Status.Revision, CurrentPodHash: r.Status.CurrentPodHash}
	for _, verb := range verbNames {
		got := s.call(http.MethodGet, name, verb, "")
		// The counts in the message may be newer by now.
		got.verb.Status.Message = ""
		if got.code != http.StatusOK || got.verb.UID != r.UID || !apiequality.Semantic.DeepEqual(got.verb.Status, want) {
			s.Errorf("GET of %s of %s is answered with %d, %+v (%v) instead of %+v", verb, name, got.code, got.verb, got.err, want)
		}
	}
}

// plans fails the test unless the plan begins and ends as a cell says.
func (s *scenario) plans(name, want string) {
	s.Helper()
	plan, err := s.rollouts().GetPlan(s.ctx(), name, metav1.GetOptions{})
	s.must(err)
	got := "nothing"
	if len(plan.Status.Steps) > 0 {
		first := plan.Status.Steps[0]
		got = string(first.Action)
		if first.Index != nil {
			got += fmt.Sprintf(" %d", *first.Index)
		}
	}
	if got += ", " + string(plan.Status.Phase); got != want {
		s.Errorf("the plan of %s is %q instead of %q: %+v", name, got, want, plan.Status)
	}
}

// explains waits until what blocks a Rollout is what a cell says: the caches hear of pods a moment later.
func (s *scenario) explains(name, want string) {
	s.Helper()
	var codes []string
	asked := func(ctx context.Context) (bool, error) {
		explanation, err := s.rollouts().Explain(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		codes = nil
		for _, b := range explanation.Status.Blockers {
			codes = append(codes, string(b.Code))
		}
		return strings.Join(codes, ", ") == want || want == "nothing" && codes == nil, nil
	}
	if err := wait.PollUntilContextTimeout(s.ctx(), poll, explainWithin, true, asked); err != nil {
		s.Errorf("what blocks %s is %q instead of %q (%v)", name, codes, want, err)
	}
}

// expectation is what a cell says.
type expectation struct {
	// code and cause are those of a refusal; 0 and empty if it succeeds.
	code  int32
	cause string
	// outcome is what it does, and phase and step where that leads; empty and nil if the cell does not say.
	outcome v1alpha1.ActionOutcome
	phase   v1alpha1.RolloutPhase
	step    *int32
}

// expected reads a cell: "409 Cause", or an outcome that may be followed by a phase and a step.
func (s *scenario) expected(text string) expectation {
	s.Helper()
	if code, cause, found := strings.Cut(text, " "); found {
		if number, err := strconv.ParseInt(code, 10, 32); err == nil {
			return expectation{code: int32(number), cause: cause}
		}
	}
	outcome, details, _ := strings.Cut(text, ": ")
	want := expectation{outcome: v1alpha1.ActionOutcome(outcome)}
	if !slices.Contains([]v1alpha1.ActionOutcome{v1alpha1.ActionDone, v1alpha1.ActionApproved, v1alpha1.ActionOverridden}, want.outcome) {
		s.Fatalf("the cell %q cannot be read", text)
	}
	for _, detail := range strings.FieldsFunc(details, func(r rune) bool { return r == ',' }) {
		number, isStep := strings.CutPrefix(strings.TrimSpace(detail), "step ")
		if !isStep {
			want.phase = v1alpha1.RolloutPhase(number)
			continue
		}
		index, err := strconv.ParseInt(number, 10, 32)
		s.must(err)
		want.step = ptr.To(int32(index))
	}
	return want
}

// differs says in what an answer is not as expected; empty if it is.
func (e expectation) differs(method string, got reply) string {
	if e.code != 0 {
		status := statusOf(got.err)
		if status == nil || status.Code != e.code || status.Details == nil || len(status.Details.Causes) != 1 || string(status.Details.Causes[0].Type) != e.cause {
			return fmt.Sprintf("answered with %d, %+v (%v) instead of %d with the cause %s", got.code, status, got.err, e.code, e.cause)
		}
		return ""
	}
	code := http.StatusOK
	if method == http.MethodPost {
		code = http.StatusCreated
	}
	st := got.verb.Status
	switch {
	case got.code != code || st.Action == nil:
		return fmt.Sprintf("answered with %d (%v) instead of %d", got.code, got.err, code)
	case st.Action.Outcome != e.outcome,
		e.phase != "" && st.Phase != e.phase,
		e.step != nil && !ptr.Equal(st.CurrentStepIndex, e.step):
		return fmt.Sprintf("%s, it leads to %s, step %d instead of %s, %s, step %d", st.Action.Outcome, st.Phase, ptr.Deref(st.CurrentStepIndex, -1), e.outcome, e.phase, ptr.Deref(e.step, -1))
	}
	return ""
}

// table reads the table of a document that has these columns: the texts of the cells, by row and column.
func (s *scenario) table(document string, header ...string) map[string]map[string]string {
	s.Helper()
	content, err := os.ReadFile(filepath.Join(s.Repository(), document))
	s.must(err)
	lines := strings.Split(string(content), "\n")
	at := slices.Index(lines, "| "+strings.Join(header, " | ")+" |")
	if at < 0 {
		s.Fatalf("%s has no table with the columns %q", document, header)
	}
	table := map[string]map[string]string{}
	for _, line := range lines[at+2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := cellsOf(line)
		if len(cells) != len(header) || table[cells[0]] != nil {
			s.Fatalf("the row %q of %s is there twice, or has not %d cells", line, document, len(header))
		}
		table[cells[0]] = map[string]string{}
		for i, text := range cells[1:] {
			table[cells[0]][header[i+1]] = text
		}
	}
	return table
}

// cellsOf are the cells of a line of a table.
func cellsOf(line string) []string {
	cells := strings.Split(strings.Trim(line, "| "), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}
