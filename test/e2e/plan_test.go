// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// journey is something that happens to a Rollout, and is planned before.
type journey struct {
	what string
	// replicas, surge and unavailable are those of the Rollout, and steps those of its strategy.
	replicas           int32
	surge, unavailable string
	steps              []v1alpha1.CanaryStep
	// blueGreen is its strategy in place of steps, surge and unavailable; nil for canary.
	blueGreen []func(*v1alpha1.BlueGreenStrategy)
	// reach brings it from its first revision to where the plan is asked for; nil if that is there.
	reach func(s *scenario, name string)
	// change is what is planned by a POST, and then done; nil for the plan of the Rollout as it is stored.
	change func(*v1alpha1.Rollout)
	// set is what lets the Rollout go on as it is stored; nil if it does by itself.
	set func(s *scenario, name string)
	// planned is how many steps the plan has.
	planned int
	// message is what the plan says.
	message string
	// determined is true if the number of pods does not depend on what the host does first.
	determined bool
}

func two(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Image = image("two") }

func one(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Image = image("one") }

func toReplicas(n int32) func(*v1alpha1.Rollout) {
	return func(r *v1alpha1.Rollout) { r.Spec.Replicas = &n }
}

// updatedTo starts the update to version two, and waits until it waits in the pause of a step.
func updatedTo(step int32) func(*scenario, string) {
	return func(s *scenario, name string) {
		s.setTag(name, "two")
		s.atPause(name, step)
	}
}

var journeys = []journey{
	{
		what: "update", replicas: 5, surge: "25%", unavailable: "0",
		steps:  []v1alpha1.CanaryStep{weight(20), pauseFor(2), weight(60), pause(), weight(100)},
		change: two, planned: 6, determined: true, message: "rolls out revision 2 in 6 steps, with at most 7 pods, 1 of which waits for somebody to promote",
	},
	{
		what: "update without surge", replicas: 4, surge: "0", unavailable: "1",
		steps:  []v1alpha1.CanaryStep{weight(25), pause(), weight(75), pauseFor(1)},
		change: two, planned: 5, determined: true, message: "with at most 4 pods",
	},
	{
		what: "update by approvals", replicas: 3, surge: "1", unavailable: "1",
		steps:  []v1alpha1.CanaryStep{weight(34), approval(2, "release-managers"), pauseFor(1), pause()},
		change: two, planned: 5, message: "2 of which wait for somebody to promote",
	},
	{
		what: "update without pauses", replicas: 6, surge: "50%", unavailable: "0",
		steps:  []v1alpha1.CanaryStep{weight(10), weight(50), weight(90)},
		change: two, planned: 4, determined: true, message: "with at most 9 pods",
	},
	{
		what: "update within both bounds", replicas: 8, surge: "25%", unavailable: "25%",
		steps:  []v1alpha1.CanaryStep{weight(25), pauseFor(1), weight(50), pauseFor(1), weight(75)},
		change: two, planned: 6, message: "with at most 10 pods",
	},
	{
		what: "update without steps", replicas: 4, surge: "1", unavailable: "0",
		change: two, planned: 1, determined: true, message: "rolls out revision 2 in 1 step, with at most 5 pods",
	},
	{
		what: "another number of replicas", replicas: 2, surge: "1", unavailable: "0",
		steps:  []v1alpha1.CanaryStep{weight(50), pause()},
		change: toReplicas(6), planned: 1, determined: true, message: "rolls out revision 1 in 1 step, with at most 6 pods",
	},
	{
		what: "everything at once", replicas: 2, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pause()},
		change: func(r *v1alpha1.Rollout) {
			two(r)
			r.Spec.Replicas = ptr.To[int32](4)
			r.Spec.Strategy.Canary.Steps = []v1alpha1.CanaryStep{weight(25), pauseFor(1), weight(75), pause()}
		},
		planned: 5, message: "rolls out revision 2 in 5 steps",
	},
	{
		what: "back to stable", replicas: 4, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pause(), weight(75)},
		reach: updatedTo(1), change: one, planned: 1, determined: true, message: "rolls out revision 3 in 1 step",
	},
	{
		what: "replicas in mid-update", replicas: 2, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pause(), weight(100)},
		reach: updatedTo(1), change: toReplicas(6), planned: 3, message: "rolls out revision 2 in 3 steps",
	},
	{
		what: "rest of an update", replicas: 4, surge: "50%", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(25), pause(), weight(50), pauseFor(2), weight(100)},
		reach: updatedTo(1), planned: 5, determined: true, message: "rolls out revision 2 in 5 steps, with at most 6 pods",
	},
	{
		what: "rest of a timed pause", replicas: 2, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pauseFor(15), weight(100)},
		reach: updatedTo(1), planned: 3, determined: true, message: "rolls out revision 2 in 3 steps",
	},
	{
		what: "paused by hand", replicas: 2, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pause()},
		reach: func(s *scenario, name string) {
			s.change(name, func(r *v1alpha1.Rollout) {
				two(r)
				r.Spec.Paused = true
			})
			s.await(name, func(r *v1alpha1.Rollout) string {
				return unless(r.Status.ObservedGeneration == r.Generation, "observed")
			})
		},
		set:     func(s *scenario, name string) { s.kubectl("sluice", "resume", name) },
		planned: 3, determined: true, message: "once it is resumed, rolls out revision 2 in 3 steps",
	},
	{
		what: "another strategy alone", replicas: 4, surge: "1", unavailable: "0",
		steps: []v1alpha1.CanaryStep{weight(50), pause()},
		reach: updatedTo(1),
		change: func(r *v1alpha1.Rollout) {
			r.Spec.Strategy.Canary.Steps = []v1alpha1.CanaryStep{weight(25), pauseFor(2), weight(75), pause()}
		},
		planned: 5, message: "rolls out revision 2 in 5 steps, with at most 5 pods, 1 of which waits for somebody to promote",
	},
	{
		what: "blueGreen update", replicas: 3,
		blueGreen: []func(*v1alpha1.BlueGreenStrategy){untilPromoted, lingering(3), previewing(1)},
		change:    two, planned: 4, determined: true, message: "rolls out revision 2 in 4 steps, with at most 6 pods, 1 of which waits for somebody to promote",
	},
	{
		what: "blueGreen update promoted in time", replicas: 2,
		blueGreen: []func(*v1alpha1.BlueGreenStrategy){promotedAfter(3), lingering(2)},
		change:    two, planned: 4, determined: true, message: "rolls out revision 2 in 4 steps, with at most 4 pods",
	},
}

// What happens to a Rollout is what was planned: the same steps in the same order, with the same weight, as many pods
// at the end of each, never more than the peak in between, and the same waits.
func TestPlanIsWhatHappens(t *testing.T) {
	together(t)
	for _, j := range journeys {
		t.Run(j.what, func(t *testing.T) {
			t.Parallel()
			j.take(newScenario(t, local))
		})
	}
}

func (j *journey) take(s *scenario) {
	r := newRollout("journey", j.replicas, j.steps...)
	if j.blueGreen != nil {
		r = newBlueGreen(r.Name, j.replicas, j.blueGreen...)
		s.service(r.Name, r.Name)
		s.service(r.Name+"-preview", r.Name)
	} else {
		canary := r.Spec.Strategy.Canary
		canary.MaxSurge, canary.MaxUnavailable = ptr.To(intstr.Parse(j.surge)), ptr.To(intstr.Parse(j.unavailable))
	}
	s.deploy(r)
	if j.reach != nil {
		j.reach(s, r.Name)
	}
	before, asked := s.get(r.Name), time.Now()
	plan := s.planned(before, j.change)
	s.contains(plan.Status.Message, j.message)
	if len(plan.Status.Steps) != j.planned {
		s.Fatalf("%d steps are planned instead of %d: %+v", len(plan.Status.Steps), j.planned, plan.Status)
	}
	f := s.follow(before, asked, j.change != nil)
	switch {
	case j.change != nil:
		s.change(r.Name, j.change)
	case j.set != nil:
		j.set(s, r.Name)
	}
	f.toTheEnd(s)
	f.compare(s, &plan.Status, j.determined)
}

// planned is the plan of a change, or of the Rollout as it is stored, which stays as it is.
func (s *scenario) planned(r *v1alpha1.Rollout, change func(*v1alpha1.Rollout)) *v1alpha1.RolloutPlan {
	s.Helper()
	sets := len(s.sets(r))
	var plan *v1alpha1.RolloutPlan
	var err error
	if change == nil {
		plan, err = s.rollouts().GetPlan(s.ctx(), r.Name, metav1.GetOptions{})
	} else {
		plan, err = s.rollouts().Plan(s.ctx(), r.Name, asPlan(r, change), metav1.CreateOptions{})
	}
	s.must(err)
	if plan.UID != r.UID || plan.Name != r.Name || plan.ResourceVersion != r.ResourceVersion {
		s.Errorf("the plan is of %s with uid %s and resourceVersion %s, not of %s, %s, %s", plan.Name, plan.UID, plan.ResourceVersion, r.Name, r.UID, r.ResourceVersion)
	}
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion || len(s.sets(r)) != sets {
		s.Errorf("a plan was stored: resourceVersion %s after %s, %d ReplicaSets after %d", after.ResourceVersion, r.ResourceVersion, len(s.sets(r)), sets)
	}
	return plan
}

// asPlan is a change as the body of a plan: what of the spec becomes another.
func asPlan(r *v1alpha1.Rollout, change func(*v1alpha1.Rollout)) *v1alpha1.RolloutPlan {
	changed := r.DeepCopy()
	change(changed)
	body := &v1alpha1.RolloutPlan{}
	if !apiequality.Semantic.DeepEqual(changed.Spec.Template, r.Spec.Template) {
		body.Spec.Template = &changed.Spec.Template
	}
	if !apiequality.Semantic.DeepEqual(changed.Spec.Strategy, r.Spec.Strategy) {
		body.Spec.Strategy = &changed.Spec.Strategy
	}
	if !apiequality.Semantic.DeepEqual(changed.Spec.Replicas, r.Spec.Replicas) {
		body.Spec.Replicas = changed.Spec.Replicas
	}
	return body
}

// Stock kubectl and the plugin show plans, and nothing is stored by any of them.
func TestWaysToAskForAPlan(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("planned", 4, weight(25), pauseFor(90), weight(50), approval(2)))
	s.contains(s.kubectl("get", resource, r.Name, "--subresource=plan"), "None", "nothing to do: revision 1 is Healthy")

	wanted := newRollout("planned", 4, weight(25), pauseFor(90), weight(50), approval(2))
	two(wanted)
	body := encode(map[string]any{"spec": map[string]any{"template": manifest(wanted)["spec"].(map[string]any)["template"]}})
	output := s.run(body, "create", "--raw", s.verbPath(r.Name, "plan"), "-f", "-")
	s.must(output.Err())
	var plan v1alpha1.RolloutPlan
	s.must(json.Unmarshal([]byte(output.Stdout), &plan))
	if st := plan.Status; len(st.Steps) != 5 || !st.NewRevision || st.Revision != 2 || st.Phase != v1alpha1.RolloutPhaseHealthy || st.Waits == nil || st.Waits.Seconds() != 90 {
		t.Errorf("%s", output.Stdout)
	}
	lines := s.run(list(manifest(wanted)), "sluice", "plan", "-f", "-")
	s.must(lines.Err())
	s.contains(lines.Stdout, "STEP", "SetWeight", "1m30s", "2 approvals", "Complete", plan.Status.Message)
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion || len(s.sets(after)) != 1 {
		t.Errorf("a plan was stored: %+v", after)
	}

	s.setTag(r.Name, "two")
	s.atPause(r.Name, 1)
	output = s.run("", "get", resource, r.Name, "--subresource=plan")
	s.must(output.Err())
	if strings.Contains(output.Stdout, ".") {
		t.Errorf("nobody waits for fractions of a second:\n%s", output.Stdout)
	}
	table := strings.Split(output.Stdout, "\n")
	for i, want := range []string{"STEP ACTION WEIGHT STABLE CANARY PEAK WAIT", "1 Pause 25 3 1 4 1m", "2 SetWeight 50 2 2 ", "3 Pause 50 2 2 4 approval of 2", "- Complete 100 0 4 "} {
		if got := strings.Join(strings.Fields(table[i]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("row %d is %q instead of %q", i, got, want)
		}
	}
}

// What could not be stored cannot be planned, in the same words.
func TestPlansThatAreRefused(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("refused", 1, weight(50), pause()))
	for what, test := range map[string]struct {
		change func(*v1alpha1.Rollout)
		words  []string
	}{
		"by the host":   {func(r *v1alpha1.Rollout) { r.Spec.Template.Spec.Containers[0].Name = "No Name" }, []string{"spec.template.spec.containers[0].name", "No Name"}},
		"by the server": {func(r *v1alpha1.Rollout) { r.Spec.Strategy.Canary.Steps[0].SetWeight = ptr.To[int32](101) }, []string{"spec.strategy.canary.steps[0].setWeight", "101"}},
		"replicas":      {toReplicas(-1), []string{"spec.replicas", "-1"}},
	} {
		_, err := s.rollouts().Plan(s.ctx(), r.Name, asPlan(r, test.change), metav1.CreateOptions{})
		planned := s.refused(err, http.StatusUnprocessableEntity, test.words...)
		changed := r.DeepCopy()
		test.change(changed)
		_, err = s.rollouts().Update(s.ctx(), changed, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		stored := s.refused(err, http.StatusUnprocessableEntity, test.words...)
		if len(planned.Details.Causes) == 0 || !apiequality.Semantic.DeepEqual(planned.Details.Causes, stored.Details.Causes) {
			t.Errorf("%s: the plan is refused for %+v, the change for %+v", what, planned.Details.Causes, stored.Details.Causes)
		}
	}
	_, err := s.rollouts().GetPlan(s.ctx(), "nobody", metav1.GetOptions{})
	s.refused(err, http.StatusNotFound, "nobody")
	if after := s.get(r.Name); after.ResourceVersion != r.ResourceVersion {
		t.Error("a plan that was refused was stored")
	}
}
