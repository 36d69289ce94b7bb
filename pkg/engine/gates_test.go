// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
	"sluice.dev/sluice/pkg/engine/simulator"
)

// people are those who try to get past gates. Nobody may override. Only those who are no editors may promote.
var people = []engine.Actor{
	{Name: "alice", Groups: []string{"a"}},
	{Name: "bob", Groups: []string{"a", "b"}},
	{Name: "carol", Groups: []string{"b"}}, // Undoes as well, and so becomes an author.
	{Name: "eve"},
}

// gatekeeper knows, independently of the engine, which gates of the steps people have opened.
type gatekeeper struct {
	*machine
	// seen is the Rollout as it was when it was last looked at.
	seen *rollouts.Rollout
	// opened are the steps that were ended by enough people.
	opened map[int]bool
	// given is who approved the step that the update is at, and when.
	given map[string]time.Time
	// authors have changed the template since a revision last became stable.
	authors []string
	// passed counts the gates that were opened: a test in which none ever is would show nothing.
	passed int
	// recalled are states that the controller may still act on, with what was open then.
	recalled []recollection
}

// recollection is a state of the past.
type recollection struct {
	engine.Snapshot
	opened map[int]bool
}

// TestNothingPassesAGateWithoutThePeopleItAsksFor: whatever is edited, asked for and gone wrong at random, by people
// who may not override, no more pods of a new revision are made than its first unopened gate lets pass, its step
// stays before it, and it does not become stable. A gate opens by promotes of enough different people who are in
// its groups and no authors, for this very revision and these very steps.
func TestNothingPassesAGateWithoutThePeopleItAsksFor(t *testing.T) {
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		r := rollout(anyReplicas.Draw(t, "replicas"), gatedSteps.Draw(t, "steps")...)
		g := &gatekeeper{machine: &machine{Cluster: simulator.New(r, start), t: t}}
		g.settle()
		g.seen, g.opened, g.given, g.authors = g.Rollout, map[int]bool{}, map[string]time.Time{}, nil
		g.OnWrite = func(before, after *appsv1.ReplicaSet) {
			g.look()
			g.checkPods(g.Rollout, g.opened, before, after)
		}
		g.run()
		passed += g.passed
	})
	if passed == 0 {
		t.Error("no gate was ever opened")
	}
}

func (g *gatekeeper) run() {
	editor := func(t *rapid.T) string { return rapid.SampledFrom([]string{"erin", "frank"}).Draw(t, "editor") }
	g.t.Repeat(map[string]func(*rapid.T){
		"round":  func(*rapid.T) { g.round() },
		"rounds": func(*rapid.T) { g.round(); g.round(); g.round(); g.round() },
		"crash":  func(t *rapid.T) { g.crash(rapid.IntRange(0, 4).Draw(t, "after writes")) },
		"remember": func(*rapid.T) {
			g.look()
			g.recalled = append(g.recalled, recollection{g.Snapshot(), maps.Clone(g.opened)})
		},
		"reconcile stale": g.reconcileStale,
		"sleep":           func(t *rapid.T) { g.Sleep(anySleep.Draw(t, "for")) },
		"image":           func(t *rapid.T) { g.editAs(editor(t), image(anyImage.Draw(t, "image"))) },
		"steps":           func(t *rapid.T) { g.editSteps(t, editor(t)) },
		"everything": func(t *rapid.T) {
			g.editAs(editor(t), g.anyEdit(t), image(anyImage.Draw(t, "image")), scale(anyReplicas.Draw(t, "replicas")))
		},
		"scale": func(t *rapid.T) { g.editAs(editor(t), scale(anyReplicas.Draw(t, "replicas"))) },
		"pause": func(t *rapid.T) { g.editAs(editor(t), func(spec *rollouts.RolloutSpec) { spec.Paused = !spec.Paused }) },
		"ready": func(t *rapid.T) {
			g.editAs(editor(t), func(spec *rollouts.RolloutSpec) { spec.MinReadySeconds = 3 - spec.MinReadySeconds })
		},
		"deadline": func(t *rapid.T) {
			g.editAs(editor(t), func(spec *rollouts.RolloutSpec) { spec.ProgressDeadlineAbort = !spec.ProgressDeadlineAbort })
		},
		"promote": g.promote,
		"all promote": func(*rapid.T) {
			for _, who := range people {
				g.promoteAs(who, false)
			}
		},
		"abort":   func(*rapid.T) { _ = g.Abort() },
		"retry":   func(*rapid.T) { _ = g.Retry() },
		"restart": func(*rapid.T) { _ = g.Restart() },
		"undo": func(t *rapid.T) {
			who := rapid.SampledFrom([]string{"carol", "erin"}).Draw(t, "who")
			if revision := g.Rollout.Status.Revision; g.UndoAs(who, rapid.Int64Range(0, 6).Draw(t, "to revision")) == nil && g.Rollout.Status.Revision != revision {
				g.authors = append(g.authors, who)
			}
		},
		"": func(*rapid.T) { g.look() },
	})
}

// reconcileStale decides on what was. Pods then follow what was open then; of the status nothing is written.
func (g *gatekeeper) reconcileStale(t *rapid.T) {
	if len(g.recalled) == 0 {
		return
	}
	past := g.recalled[rapid.IntRange(0, len(g.recalled)-1).Draw(t, "snapshot")]
	past.Now = g.Now()
	now := g.OnWrite
	g.OnWrite = func(before, after *appsv1.ReplicaSet) { g.checkPods(past.Rollout, past.opened, before, after) }
	_, _ = g.apply(past.Snapshot, -1)
	g.OnWrite = now
}

// editAs changes the spec if that needs no right but to edit.
func (g *gatekeeper) editAs(who string, changes ...func(*rollouts.RolloutSpec)) {
	edited := g.Rollout.DeepCopy()
	for _, change := range changes {
		change(&edited.Spec)
	}
	if engine.RightsToEdit(g.Rollout, edited) != nil {
		return
	}
	if lost := lostGate(stepsOf(g.Rollout), 0, stepsOf(edited), asksForApproval, asStrict); lost >= 0 {
		g.fail("without any right the approval of step %d was lost in %v", lost, stepsOf(edited))
	}
	g.look()
	before := g.Rollout
	reach, gated := limit(g.Rollout, g.opened)
	g.EditAs(who, "by "+who, func(spec *rollouts.RolloutSpec) { *spec = edited.Spec })
	if g.Rollout.Status.Revision != before.Status.Revision {
		g.authors = append(g.authors, who)
	}
	g.look()
	if inFlight(before) && inFlight(g.Rollout) && !before.Status.PromoteFull && gated {
		if now, still := limit(g.Rollout, g.opened); !still || now > reach {
			g.fail("the first gate let %d %% pass, and after an edit %d %% (is there one: %t)", reach, now, still)
		}
	}
}

func (g *gatekeeper) editSteps(t *rapid.T, who string) { g.editAs(who, g.anyEdit(t)) }

// anyEdit changes the steps: to others, or by a few strokes.
func (g *gatekeeper) anyEdit(t *rapid.T) func(*rollouts.RolloutSpec) {
	list := rapid.OneOf(gatedSteps, rapid.Custom(func(t *rapid.T) []rollouts.CanaryStep { return mutated(t, stepsOf(g.Rollout)) })).Draw(t, "steps")
	return func(spec *rollouts.RolloutSpec) {
		spec.Strategy.Canary = spec.Strategy.Canary.DeepCopy()
		spec.Strategy.Canary.Steps = list
	}
}

func (g *gatekeeper) promote(t *rapid.T) {
	g.promoteAs(rapid.SampledFrom(people).Draw(t, "who"), rapid.IntRange(0, 4).Draw(t, "full") == 0)
}

// promoteAs promotes, and holds what comes of it against the steps.
func (g *gatekeeper) promoteAs(who engine.Actor, full bool) {
	g.look()
	before := g.Rollout
	if g.PromoteAs(who, engine.PromoteOptions{Full: full}) != nil {
		return
	}
	at := int(ptr.Deref(before.Status.CurrentStepIndex, 0))
	list := stepsOf(before)
	if full {
		for i := at; i < len(list); i++ {
			if approvalOf(list[i]) != nil {
				g.fail("%s skipped the approval of step %d by a full promote", who.Name, i)
			}
			g.opened[i] = true
		}
		g.seen = g.Rollout
		return
	}
	moved := int(*g.Rollout.Status.CurrentStepIndex) != at
	if a := approvalOf(list[at]); a != nil {
		if len(a.Groups) > 0 && !slices.ContainsFunc(a.Groups, func(group string) bool { return slices.Contains(who.Groups, group) }) {
			g.fail("%s is in none of %v, and was counted", who.Name, a.Groups)
		}
		if ptr.Deref(a.NotAuthor, true) && slices.Contains(g.authors, who.Name) {
			g.fail("%s is an author, and was counted", who.Name)
		}
		g.given[who.Name] = g.Now()
		if n := g.counted(a); moved && n < int(ptr.Deref(a.Required, 1)) {
			g.fail("step %d ended by %d people: %v", at, n, g.given)
		}
	}
	if moved {
		g.opened[at], g.given = true, map[string]time.Time{}
		g.passed++
	}
	g.seen = g.Rollout
}

// counted is how many approvals have not expired. Times are kept rounded up to a microsecond.
func (g *gatekeeper) counted(a *rollouts.PauseApproval) int {
	n := 0
	for _, at := range g.given {
		length, _ := engine.PauseDuration(a.ExpireAfter)
		if a.ExpireAfter == nil || g.Now().Before(at.Add(length+time.Microsecond)) {
			n++
		}
	}
	return n
}

// look takes notice of what has changed, and fails if the update is where it may not be.
func (g *gatekeeper) look() {
	was, is := g.seen, g.Rollout
	g.seen = is
	if was.Status.Revision != is.Status.Revision || was.Status.Abort != is.Status.Abort || !apiequality.Semantic.DeepEqual(stepsOf(was), stepsOf(is)) {
		g.opened, g.given = map[int]bool{}, map[string]time.Time{}
	}
	if was.Status.StableRS != is.Status.StableRS {
		if i := firstUnopened(is, g.opened); was.Status.StableRS != "" && i >= 0 {
			g.fail("revision %d became stable before the gate of step %d", is.Status.Revision, i)
		}
		g.authors = nil
	}
	if !inFlight(is) {
		return
	}
	if i := firstUnopened(is, g.opened); i >= 0 && (is.Status.PromoteFull || int(ptr.Deref(is.Status.CurrentStepIndex, 0)) > i) {
		g.fail("at step %d, full %t, past the gate of step %d", *is.Status.CurrentStepIndex, is.Status.PromoteFull, i)
	}
}

// checkPods holds a write to a ReplicaSet against the gate that the update stands before.
func (g *gatekeeper) checkPods(r *rollouts.Rollout, opened map[int]bool, before, after *appsv1.ReplicaSet) {
	if after == nil || !inFlight(r) {
		return
	}
	var was int32
	if before != nil {
		was = *before.Spec.Replicas
	}
	hash := after.Labels[rollouts.PodTemplateHashLabel]
	if *after.Spec.Replicas <= was || hash == r.Status.StableRS {
		return
	}
	if hash != r.Status.CurrentPodHash {
		g.fail("raised %s, which is neither stable nor current, from %d to %d", after.Name, was, *after.Spec.Replicas)
	}
	reach, gated := limit(r, opened)
	if most := mostPods(r, reach); gated && *after.Spec.Replicas > most {
		g.fail("raised %s from %d to %d, where a gate lets %d %% pass: at most %d pods", after.Name, was, *after.Spec.Replicas, reach, most)
	}
}

// mostPods is how many pods may stand for a share of all: rounded up, with one pod more in all, or to replace one
// that is restarted.
func mostPods(r *rollouts.Rollout, percent int32) int32 {
	n := *r.Spec.Replicas
	most := ((n+1)*percent + 99) / 100
	if r.Spec.RestartAt != nil && !r.Spec.RestartAt.Equal(r.Status.RestartedAt) && percent > 0 {
		most++
	}
	return most
}

// limit is the highest weight before the first gate that is not open; false if all are.
func limit(r *rollouts.Rollout, opened map[int]bool) (int32, bool) {
	i := firstUnopened(r, opened)
	if i < 0 {
		return 100, false
	}
	return reachOf(stepsOf(r), i), true
}

func firstUnopened(r *rollouts.Rollout, opened map[int]bool) int {
	for i, s := range stepsOf(r) {
		if waitsForPeople(s) && !opened[i] {
			return i
		}
	}
	return -1
}

func inFlight(r *rollouts.Rollout) bool {
	return r.Status.StableRS != "" && r.Status.StableRS != r.Status.CurrentPodHash
}

func stepsOf(r *rollouts.Rollout) []rollouts.CanaryStep { return r.Spec.Strategy.Canary.Steps }

func approvalOf(s rollouts.CanaryStep) *rollouts.PauseApproval {
	if s.Pause == nil {
		return nil
	}
	return s.Pause.Approval
}

func waitsForPeople(s rollouts.CanaryStep) bool { return s.Pause != nil && s.Pause.Duration == nil }

// reachOf is the highest weight before a step.
func reachOf(list []rollouts.CanaryStep, i int) int32 {
	var reach int32
	for _, s := range list[:i] {
		reach = max(reach, ptr.Deref(s.SetWeight, 0))
	}
	return reach
}

// gatedSteps are steps with weights, gates and a few timed pauses.
var gatedSteps = rapid.SliceOfN(rapid.Custom(gatedStep), 1, 5)

func gatedStep(t *rapid.T) rollouts.CanaryStep {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0, 1:
		return anyApproval(t)
	case 2:
		return pause("")
	case 3:
		return pause("10s")
	default:
		return weight(rapid.SampledFrom([]int32{0, 10, 25, 50, 75, 100}).Draw(t, "weight"))
	}
}

func anyApproval(t *rapid.T) rollouts.CanaryStep {
	s := approval(rapid.Int32Range(1, 3).Draw(t, "required"), rapid.SampledFrom([][]string{nil, {"a"}, {"b"}, {"a", "b"}}).Draw(t, "groups")...)
	s.Pause.Approval.NotAuthor = rapid.SampledFrom([]*bool{nil, ptr.To(true), ptr.To(false)}).Draw(t, "notAuthor")
	s.Pause.Approval.ExpireAfter = rapid.SampledFrom([]*intstr.IntOrString{nil, ptr.To(intstr.FromString("20s")), ptr.To(intstr.FromInt32(60))}).Draw(t, "expireAfter")
	return s
}

// mutated are steps after a few strokes of an editor.
func mutated(t *rapid.T, list []rollouts.CanaryStep) []rollouts.CanaryStep {
	list = slices.Clone(list)
	for range rapid.IntRange(1, 2).Draw(t, "strokes") {
		if len(list) == 0 {
			return append(list, gatedStep(t))
		}
		i := rapid.IntRange(0, len(list)-1).Draw(t, "at")
		switch rapid.SampledFrom([]string{"remove", "insert", "replace", "swap", "replace approval"}).Draw(t, "stroke") {
		case "remove":
			list = slices.Delete(list, i, i+1)
		case "insert":
			list = slices.Insert(list, i, gatedStep(t))
		case "replace":
			list[i] = gatedStep(t)
		case "swap":
			j := rapid.IntRange(0, len(list)-1).Draw(t, "with")
			list[i], list[j] = list[j], list[i]
		case "replace approval":
			if approvalOf(list[i]) != nil {
				list[i] = anyApproval(t)
			}
		}
	}
	return list
}
