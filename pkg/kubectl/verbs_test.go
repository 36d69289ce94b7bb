// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// answer makes the server answer a verb.
func (b *bench) answer(subresource string, reply runtime.Object, err error) {
	b.sluice.PrependReactor("create", "rollouts/"+subresource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, reply, err
	})
}

func TestVerbs(t *testing.T) {
	at := func(step int32) v1alpha1.VerbStatus { return v1alpha1.VerbStatus{CurrentStepIndex: ptr.To(step)} }
	tests := []struct {
		line, subresource string
		reply             runtime.Object
		out               string
	}{
		{"promote demo", "promote", &v1alpha1.Promotion{Status: at(2)}, "rollout.sluice.dev/demo promoted: step 2/3"},
		{"promote demo", "promote", &v1alpha1.Promotion{Status: at(1)}, "rollout.sluice.dev/demo promoted: step 1/3"},
		{"promote rollout/demo", "promote", &v1alpha1.Promotion{Status: at(2)}, "rollout.sluice.dev/demo promoted: step 2/3"},
		{"promote demo --full", "promote", &v1alpha1.Promotion{Full: true, Status: at(3)}, "rollout.sluice.dev/demo fully promoted"},
		{"promote gone", "promote", &v1alpha1.Promotion{Status: at(2)}, "rollout.sluice.dev/gone promoted: step 2"},
		{"abort demo", "abort", &v1alpha1.Abort{}, "rollout.sluice.dev/demo aborted"},
		{"retry demo", "retry", &v1alpha1.Retry{Status: at(0)}, "rollout.sluice.dev/demo retried: step 0/3"},
		{"retry rollout demo", "retry", &v1alpha1.Retry{Status: at(0)}, "rollout.sluice.dev/demo retried: step 0/3"},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			b := newBench(demo())
			b.answer(test.subresource, test.reply, nil)
			b.expect(t, test.line, 0, test.out, "")
			call := b.sluice.Actions()[0].(clienttesting.CreateAction)
			if call.GetSubresource() != test.subresource || call.GetNamespace() != "shop" {
				t.Errorf("called %v", call)
			}
			if body, ok := call.GetObject().(*v1alpha1.Promotion); ok && body.Full != test.reply.(*v1alpha1.Promotion).Full {
				t.Errorf("asked for full = %v", body.Full)
			}
			for _, action := range b.sluice.Actions() {
				if verb := action.GetVerb(); verb == "update" || verb == "patch" {
					t.Errorf("a verb is a call of its subresource, never a write of the Rollout: %v", action)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	refusal := func(reason, message string, retryAfter int32) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 409, Reason: metav1.StatusReasonConflict,
			Message: `cannot promote rollout "demo": ` + message,
			Details: &metav1.StatusDetails{
				Group: "sluice.dev", Kind: "rollouts", Name: "demo", RetryAfterSeconds: retryAfter,
				Causes: []metav1.StatusCause{{Type: metav1.CauseType(reason), Message: message}},
			},
		}}
	}
	denied := func(message, cause string) error {
		err := apierrors.NewForbidden(v1alpha1.Resource("rollouts"), "demo", errors.New(message))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: cause}}
		return err
	}
	tests := []struct {
		rule   string
		err    error
		errOut string
	}{
		{"the message of the server and its cause, without saying it twice", refusal("NothingInFlight", "no update is in flight", 0),
			"Error from server (Conflict): cannot promote rollout \"demo\": no update is in flight\n  cause: NothingInFlight"},
		{"when it may succeed", refusal("NotObserved", "the last change is not observed yet", 1),
			"Error from server (Conflict): cannot promote rollout \"demo\": the last change is not observed yet\n  cause: NotObserved\nTry again in 1 s."},
		{"an admission policy gives its message as a cause without a type", denied("Promote step by step.", "Promote step by step."),
			`Error from server (Forbidden): rollouts.sluice.dev "demo" is forbidden: Promote step by step.`},
		{"a cause without a type that says more", denied("denied", "Promote step by step."),
			"Error from server (Forbidden): rollouts.sluice.dev \"demo\" is forbidden: denied\n  cause: Promote step by step."},
		{"a denied request is told as the server tells it", apierrors.NewForbidden(v1alpha1.Resource("rollouts"), "demo", errors.New(`User "eve" cannot create resource "rollouts/promote"`)),
			`Error from server (Forbidden): rollouts.sluice.dev "demo" is forbidden: User "eve" cannot create resource "rollouts/promote"`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			b := newBench(demo())
			b.answer("promote", nil, test.err)
			b.expect(t, "promote demo", 1, "", test.errOut)
		})
	}
}
