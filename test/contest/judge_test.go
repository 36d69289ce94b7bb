// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func succeeded(step int32) answer {
	return answer{took: time.Second, reply: &v1alpha1.Promotion{Status: v1alpha1.VerbStatus{CurrentStepIndex: &step}}}
}

func refused(code int32, field string) answer {
	return answer{err: &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Field: field}}}}}}
}

func TestJudge(t *testing.T) {
	late := refused(http.StatusConflict, expectedField)
	for _, test := range []struct {
		rule    string
		answers []answer
		wrong   string
	}{
		{"one success and refusals are right", []answer{late, succeeded(4), late}, ""},
		{"two successes are wrong", []answer{succeeded(4), late, succeeded(4)}, "2 of 3"},
		{"no success is wrong", []answer{late, late}, "0 of 2"},
		{"a success that skips a step is wrong", []answer{succeeded(5), late}, "step 5, not 4"},
		{"a refusal for another reason is wrong", []answer{succeeded(4), refused(http.StatusConflict, "expect.revision")}, expectedField},
		{"a failure of the server is no refusal", []answer{succeeded(4), refused(http.StatusInternalServerError, expectedField)}, "409"},
		{"no answer is no refusal", []answer{succeeded(4), {err: errors.New("connection reset")}}, "connection reset"},
	} {
		winner, err := judge(3, test.answers)
		switch {
		case test.wrong == "" && (err != nil || winner != time.Second):
			t.Errorf("%s: %v, %v", test.rule, winner, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("%s: the error is %v", test.rule, err)
		}
	}
}

func TestJudgeActions(t *testing.T) {
	action := func(from, to int32) v1alpha1.RolloutAction {
		return v1alpha1.RolloutAction{Reason: "mine", FromStep: &from, ToStep: &to}
	}
	other := v1alpha1.RolloutAction{Reason: "another round"}
	for _, test := range []struct {
		rule    string
		at      int32
		actions []v1alpha1.RolloutAction
		rests   bool
		right   bool
	}{
		{"one promote, one step", 4, []v1alpha1.RolloutAction{other, action(3, 4)}, true, true},
		{"where it does not rest the controller may have gone on", 6, []v1alpha1.RolloutAction{action(3, 4)}, false, true},
		{"where it rests it may not", 6, []v1alpha1.RolloutAction{action(3, 4)}, true, false},
		{"two promotes", 4, []v1alpha1.RolloutAction{action(3, 4), action(3, 4)}, true, false},
		{"none", 4, []v1alpha1.RolloutAction{other}, true, false},
		{"two steps", 5, []v1alpha1.RolloutAction{action(3, 5)}, false, false},
		{"it did not move", 3, []v1alpha1.RolloutAction{action(3, 4)}, false, false},
	} {
		r := &v1alpha1.Rollout{Status: v1alpha1.RolloutStatus{CurrentStepIndex: ptr.To(test.at), Actions: test.actions}}
		if err := judgeActions(r, 3, "mine", test.rests); (err == nil) != test.right {
			t.Errorf("%s: %v", test.rule, err)
		}
	}
}

func TestPlansCoverAllStates(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	states, lengths := map[string]bool{}, map[int]bool{}
	for i := range 200 {
		p := newPlan(random, i)
		lengths[len(p.steps)] = true
		for step := range p.steps {
			states[p.rest(int32(step))] = true
		}
		if last := len(p.steps) - 1; p.rest(int32(last)) != restPause || p.rest(int32(last+1)) != "" {
			t.Errorf("plan %d ends with %q, then %q", i, p.rest(int32(last)), p.rest(int32(last+1)))
		}
	}
	for _, state := range []string{restPause, restTimedPause, restPods, ""} {
		if !states[state] {
			t.Errorf("no plan has a step that is %q", state)
		}
	}
	if len(lengths) != mostSteps-leastSteps {
		t.Errorf("the numbers of steps are %v", lengths)
	}
}
