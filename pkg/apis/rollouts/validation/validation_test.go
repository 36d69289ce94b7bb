// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func validRollout() *rollouts.Rollout {
	labels := map[string]string{"app": "web"}
	return &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec: rollouts.RolloutSpec{
			Replicas:                ptr.To[int32](5),
			Selector:                &metav1.LabelSelector{MatchLabels: labels},
			ProgressDeadlineSeconds: ptr.To[int32](600),
			RevisionHistoryLimit:    ptr.To[int32](10),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways},
			},
			Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
				MaxSurge:       ptr.To(intstr.FromString("25%")),
				MaxUnavailable: ptr.To(intstr.FromString("25%")),
			}},
		},
	}
}

func steps(steps ...rollouts.CanaryStep) func(*rollouts.Rollout) {
	return func(r *rollouts.Rollout) { r.Spec.Strategy.Canary.Steps = steps }
}

func pause(duration intstr.IntOrString) rollouts.CanaryStep {
	return rollouts.CanaryStep{Pause: &rollouts.RolloutPause{Duration: &duration}}
}

func pods(surge, unavailable intstr.IntOrString) func(*rollouts.Rollout) {
	return func(r *rollouts.Rollout) {
		r.Spec.Strategy.Canary.MaxSurge, r.Spec.Strategy.Canary.MaxUnavailable = &surge, &unavailable
	}
}

func TestValidateRollout(t *testing.T) {
	number, text := intstr.FromInt32, intstr.FromString
	tests := []struct {
		rule   string
		change func(*rollouts.Rollout)
		// fields are those of the errors, in order; none if it is valid.
		fields []string
	}{
		{"a valid rollout", func(*rollouts.Rollout) {}, nil},
		{"no strategy", func(r *rollouts.Rollout) { r.Spec.Strategy.Canary = nil }, []string{"spec.strategy"}},
		{"replicas 0 is a rollout without pods", func(r *rollouts.Rollout) { r.Spec.Replicas = ptr.To[int32](0) }, nil},
		{"negative replicas", func(r *rollouts.Rollout) { r.Spec.Replicas = ptr.To[int32](-1) }, []string{"spec.replicas"}},
		{"negative minReadySeconds", func(r *rollouts.Rollout) { r.Spec.MinReadySeconds = -1 }, []string{"spec.minReadySeconds"}},
		{"negative revisionHistoryLimit", func(r *rollouts.Rollout) { r.Spec.RevisionHistoryLimit = ptr.To[int32](-1) }, []string{"spec.revisionHistoryLimit"}},
		{"a deadline equal to minReadySeconds", func(r *rollouts.Rollout) { r.Spec.MinReadySeconds = 600 }, []string{"spec.progressDeadlineSeconds"}},
		{"a deadline below minReadySeconds", func(r *rollouts.Rollout) { r.Spec.MinReadySeconds = 700 }, []string{"spec.progressDeadlineSeconds"}},
		{"a deadline just above minReadySeconds", func(r *rollouts.Rollout) { r.Spec.MinReadySeconds = 599 }, nil},

		{"no selector", func(r *rollouts.Rollout) { r.Spec.Selector = nil }, []string{"spec.selector"}},
		{"an empty selector", func(r *rollouts.Rollout) { r.Spec.Selector = &metav1.LabelSelector{} }, []string{"spec.selector"}},
		{"a selector with an unknown operator", func(r *rollouts.Rollout) {
			r.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Near", Values: []string{"web"}}}
		}, []string{"spec.selector.matchExpressions[0].operator"}},
		{"a selector that does not match the template", func(r *rollouts.Rollout) { r.Spec.Template.Labels = map[string]string{"app": "api"} }, []string{"spec.template.metadata.labels"}},
		{"a selector on our own label", func(r *rollouts.Rollout) {
			r.Spec.Selector.MatchLabels = map[string]string{rollouts.PodTemplateHashLabel: "x"}
		}, []string{"spec.selector"}},
		{"a template with our own label", func(r *rollouts.Rollout) {
			r.Spec.Template.Labels = map[string]string{"app": "web", rollouts.PodTemplateHashLabel: "x"}
		}, []string{"spec.template.metadata.labels[sluice.dev/pod-template-hash]"}},

		{"restartPolicy unset is the host's default", func(r *rollouts.Rollout) { r.Spec.Template.Spec.RestartPolicy = "" }, nil},
		{"restartPolicy OnFailure", func(r *rollouts.Rollout) { r.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }, []string{"spec.template.spec.restartPolicy"}},
		{"pods that end by themselves", func(r *rollouts.Rollout) { r.Spec.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }, []string{"spec.template.spec.activeDeadlineSeconds"}},

		{"maxSurge and maxUnavailable both 0", pods(number(0), number(0)), []string{"spec.strategy.canary.maxUnavailable"}},
		{"both 0% is one unavailable pod (argo.md 2.2)", pods(text("0%"), text("0%")), nil},
		{"maxUnavailable 0 with a surge", pods(number(1), number(0)), nil},
		{"maxUnavailable 100%", pods(number(0), text("100%")), nil},
		{"maxUnavailable over 100%", pods(number(1), text("101%")), []string{"spec.strategy.canary.maxUnavailable"}},
		{"maxUnavailable far over 100%", pods(number(1), text("99999999999999999999%")), []string{"spec.strategy.canary.maxUnavailable"}},
		{"maxSurge over 100% is fine", pods(text("300%"), number(0)), nil},
		{"maxSurge that makes more pods than can be counted", pods(number(math.MaxInt32), number(0)), []string{"spec.strategy.canary.maxSurge"}},
		{"maxSurge of so many percent", pods(text("9223372036854775807%"), number(0)), []string{"spec.strategy.canary.maxSurge"}},
		{"maxSurge that is too long for a number", pods(text("99999999999999999999%"), number(0)), []string{"spec.strategy.canary.maxSurge"}},
		{"negative maxSurge", pods(number(-1), number(1)), []string{"spec.strategy.canary.maxSurge"}},
		{"maxSurge without a unit", pods(text("25"), number(1)), []string{"spec.strategy.canary.maxSurge"}},
		{"negative percentage", pods(number(1), text("-5%")), []string{"spec.strategy.canary.maxUnavailable"}},

		{"weights 0 and 100", steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](0)}, rollouts.CanaryStep{SetWeight: ptr.To[int32](100)}), nil},
		{"weight -1", steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](-1)}), []string{"spec.strategy.canary.steps[0].setWeight"}},
		{"weight 101", steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](5)}, rollouts.CanaryStep{SetWeight: ptr.To[int32](101)}), []string{"spec.strategy.canary.steps[1].setWeight"}},
		{"a step of no kind", steps(rollouts.CanaryStep{}), []string{"spec.strategy.canary.steps[0]"}},
		{"a step of two kinds", steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](5), Pause: &rollouts.RolloutPause{}}), []string{"spec.strategy.canary.steps[0]"}},
		{"an indefinite pause", steps(rollouts.CanaryStep{Pause: &rollouts.RolloutPause{}}), nil},
		{"a pause of 0 passes at once", steps(pause(number(0))), nil},
		{"a pause in seconds, and in units", steps(pause(number(30)), pause(text("30")), pause(text("1h30m"))), nil},
		{"a pause of abc", steps(pause(text("abc"))), []string{"spec.strategy.canary.steps[0].pause.duration"}},
		{"a pause of -1", steps(pause(number(-1))), []string{"spec.strategy.canary.steps[0].pause.duration"}},
		{"a pause of -1s", steps(pause(text("-1s"))), []string{"spec.strategy.canary.steps[0].pause.duration"}},

		{"a name that leaves no room for a hash", func(r *rollouts.Rollout) { r.Name = strings.Repeat("a", 240) }, []string{"metadata.name"}},
		{"all mistakes at once", func(r *rollouts.Rollout) {
			r.Spec.Replicas = ptr.To[int32](-1)
			r.Spec.Strategy.Canary.Steps = []rollouts.CanaryStep{{}}
		}, []string{"spec.replicas", "spec.strategy.canary.steps[0]"}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			rollout := validRollout()
			test.change(rollout)
			var fields []string
			for _, err := range ValidateRollout(rollout) {
				fields = append(fields, err.Field)
				if err.Detail == "" {
					t.Errorf("%v does not say what would be valid", err)
				}
			}
			if strings.Join(fields, " ") != strings.Join(test.fields, " ") {
				t.Errorf("errors for %v, want %v", fields, test.fields)
			}
		})
	}
}

func TestTheSelectorCannotBeChanged(t *testing.T) {
	old := validRollout()
	old.ResourceVersion = "1"
	changed := old.DeepCopy()
	changed.Spec.Selector.MatchLabels["tier"] = "front"
	changed.Spec.Template.Labels = map[string]string{"app": "web", "tier": "front"}
	errs := ValidateRolloutUpdate(changed, old)
	if len(errs) != 1 || errs[0].Field != "spec.selector" {
		t.Errorf("got %v, want one error for spec.selector", errs)
	}
}

func TestValidateRolloutStatusUpdate(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*rollouts.RolloutStatus)
		field  string
	}{
		{"a valid status", func(*rollouts.RolloutStatus) {}, ""},
		{"an unknown phase", func(s *rollouts.RolloutStatus) { s.Phase = "Fine" }, "status.phase"},
		{"a negative count", func(s *rollouts.RolloutStatus) { s.ReadyReplicas = -1 }, "status.readyReplicas"},
		{"a step index beyond the steps", func(s *rollouts.RolloutStatus) { s.CurrentStepIndex = ptr.To[int32](2) }, "status.currentStepIndex"},
		{"the step index of all done", func(s *rollouts.RolloutStatus) { s.CurrentStepIndex = ptr.To[int32](1) }, ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			old := validRollout()
			old.ResourceVersion = "1"
			steps(rollouts.CanaryStep{SetWeight: ptr.To[int32](5)})(old)
			changed := old.DeepCopy()
			changed.Status.Phase = rollouts.RolloutPhaseHealthy
			test.change(&changed.Status)
			errs := ValidateRolloutStatusUpdate(changed, old)
			if (test.field == "") != (len(errs) == 0) || (test.field != "" && errs[0].Field != test.field) {
				t.Errorf("got %v, want an error for %q", errs, test.field)
			}
		})
	}
}
