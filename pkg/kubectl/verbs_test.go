// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// sent is the request that a body of a verb carries.
func sent(t *testing.T, body runtime.Object) v1alpha1.VerbRequest {
	t.Helper()
	switch body := body.(type) {
	case *v1alpha1.Promotion:
		return body.VerbRequest
	case *v1alpha1.Abort:
		return body.VerbRequest
	case *v1alpha1.Retry:
		return body.VerbRequest
	case *v1alpha1.Pause:
		return body.VerbRequest
	case *v1alpha1.Resume:
		return body.VerbRequest
	case *v1alpha1.Restart:
		return body.VerbRequest
	case *v1alpha1.Undo:
		return body.VerbRequest
	}
	t.Fatalf("%T is no body of a verb", body)
	return v1alpha1.VerbRequest{}
}

// calls are the calls of a subresource that were sent.
func (b *bench) calls(subresource string) []clienttesting.CreateActionImpl {
	var calls []clienttesting.CreateActionImpl
	for _, action := range b.sluice.Actions() {
		if call, ok := action.(clienttesting.CreateActionImpl); ok && call.GetSubresource() == subresource {
			calls = append(calls, call)
		}
	}
	return calls
}

func TestVerbs(t *testing.T) {
	said := func(message string) v1alpha1.VerbStatus { return v1alpha1.VerbStatus{Message: message} }
	half := ptr.To(metav1.Date(2026, 1, 2, 12, 30, 1, 0, time.UTC))
	seen := v1alpha1.VerbExpectation{Revision: ptr.To[int64](4), PodHash: "new", StepIndex: ptr.To[int32](1), UID: "uid-demo"}
	reviewed := v1alpha1.VerbExpectation{Revision: ptr.To[int64](3), StepIndex: ptr.To[int32](0)}
	tests := []struct {
		line string
		// reply is what the server answers, with the options that it was sent.
		reply  runtime.Object
		expect v1alpha1.VerbExpectation
		out    string
	}{
		{"promote demo", &v1alpha1.Promotion{Status: said("promoted to step 2/3")}, seen, "rollout.sluice.dev/demo promoted to step 2/3"},
		{"promote rollout/demo", &v1alpha1.Promotion{Status: said("approved step 1/3: 1 of 2 given (by jane), 1 more needed")}, seen, "rollout.sluice.dev/demo approved step 1/3: 1 of 2 given (by jane), 1 more needed"},
		{"promote demo --full", &v1alpha1.Promotion{Full: true, Status: said("skipped all remaining steps")}, seen, "rollout.sluice.dev/demo skipped all remaining steps"},
		{"promote demo --override", &v1alpha1.Promotion{Override: true, Status: said("promoted to step 2/3")}, seen, "rollout.sluice.dev/demo promoted to step 2/3"},
		{"promote demo --expect-step 0 --expect-revision 3", &v1alpha1.Promotion{Status: said("promoted")},
			v1alpha1.VerbExpectation{Revision: ptr.To[int64](3), PodHash: "new", StepIndex: ptr.To[int32](0), UID: "uid-demo"}, "rollout.sluice.dev/demo promoted"},
		{"abort demo", &v1alpha1.Abort{Status: said("aborted the update to revision 4")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo aborted the update to revision 4"},
		{"abort demo --expect-step=0 --expect-revision=3", &v1alpha1.Abort{Status: said("aborted")}, reviewed, "rollout.sluice.dev/demo aborted"},
		{"retry demo", &v1alpha1.Retry{Status: said("started again")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo started again"},
		{"retry rollout demo --expect-step 0 --expect-revision 3", &v1alpha1.Retry{Status: said("started again")}, reviewed, "rollout.sluice.dev/demo started again"},
		{"pause demo", &v1alpha1.Pause{Status: said("paused")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo paused"},
		{"resume demo", &v1alpha1.Resume{Status: said("resumed")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo resumed"},
		{"restart demo", &v1alpha1.Restart{Status: said("restarts")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo restarts"},
		{"restart demo --in 30m", &v1alpha1.Restart{At: half, Status: said("restarts")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo restarts"},
		{"undo demo", &v1alpha1.Undo{Status: said("put the template back")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo put the template back"},
		{"undo demo --to-revision 2", &v1alpha1.Undo{ToRevision: 2, Status: said("put the template back")}, v1alpha1.VerbExpectation{}, "rollout.sluice.dev/demo put the template back"},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			subresource := strings.Fields(test.line)[0]
			for suffix, dryRun := range map[string][]string{"": nil, " --dry-run=none": nil, " --dry-run=server": {metav1.DryRunAll}} {
				b, out := newBench(demo()), test.out
				if dryRun != nil {
					out += " (server dry run)"
				}
				b.answer(subresource, test.reply, nil)
				b.expect(t, test.line+suffix+" --reason tested", 0, out, "")
				calls := b.calls(subresource)
				if len(calls) != 1 || calls[0].Name != "demo" || calls[0].GetNamespace() != "shop" {
					t.Fatalf("called %v", calls)
				}
				options := metav1.CreateOptions{FieldManager: "kubectl-sluice", DryRun: dryRun}
				if diff := cmp.Diff(options, calls[0].CreateOptions); diff != "" {
					t.Errorf("options: %s", diff)
				}
				request := sent(t, calls[0].Object)
				if diff := cmp.Diff(v1alpha1.VerbRequest{Expect: test.expect, RequestID: request.RequestID, Reason: "tested"}, request); diff != "" || len(request.RequestID) != 36 {
					t.Errorf("request %q: %s", request.RequestID, diff)
				}
				if diff := cmp.Diff(test.reply, calls[0].Object, cmpopts.IgnoreTypes(v1alpha1.VerbStatus{}, v1alpha1.VerbRequest{})); diff != "" {
					t.Errorf("options of the verb: %s", diff)
				}
				if others := len(b.sluice.Actions()) - 1; subresource != "promote" && others != 0 {
					t.Errorf("a verb is one call of its subresource: %v", b.sluice.Actions())
				}
			}
		})
	}
}

func TestEachCallHasItsOwnID(t *testing.T) {
	b := newBench(demo())
	b.answer("abort", &v1alpha1.Abort{}, nil)
	b.do(t.Context(), "abort demo")
	b.do(t.Context(), "abort demo")
	calls := b.calls("abort")
	if len(calls) != 2 || sent(t, calls[0].Object).RequestID == sent(t, calls[1].Object).RequestID {
		t.Errorf("called %v", calls)
	}
}

func TestPromoteOfWhatCannotBeSeen(t *testing.T) {
	forbidden := apierrors.NewForbidden(v1alpha1.Resource("rollouts"), "demo", errors.New(`User "eve" cannot get resource "rollouts"`))
	hidden := func() *bench {
		b := newBench(demo())
		b.sluice.PrependReactor("get", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
		b.answer("promote", &v1alpha1.Promotion{Status: v1alpha1.VerbStatus{Message: "promoted to step 2/3"}}, nil)
		return b
	}
	b := hidden()
	b.expect(t, "promote demo", 1, "", `Error from server (Forbidden): `+forbidden.Error()+`
A promote is for the step and the revision that the Rollout is at, so it is read first.
That needs the right to get rollouts.sluice.dev, as ClusterRole sluice-viewer gives; or say what to expect: --expect-step, --expect-revision.`)
	if calls := b.calls("promote"); len(calls) != 0 {
		t.Errorf("promoted all the same: %v", calls)
	}
	b = hidden()
	b.expect(t, "promote demo --expect-step 1", 0, "rollout.sluice.dev/demo promoted to step 2/3",
		"rollout.sluice.dev/demo cannot be looked at first, so only what the flags say is expected of it: "+forbidden.Error())
	if diff := cmp.Diff(v1alpha1.VerbExpectation{StepIndex: ptr.To[int32](1)}, sent(t, b.calls("promote")[0].Object).Expect); diff != "" {
		t.Error(diff)
	}
	newBench().expect(t, "promote demo", 1, "", `Error from server (NotFound): rollouts.sluice.dev "demo" not found`)
}

func TestALostAnswerIsAskedForOnceMore(t *testing.T) {
	reset := &url.Error{Op: "Post", URL: "https://cluster", Err: io.EOF}
	unavailable := func(seconds int) error {
		return apierrors.NewGenericServerResponse(503, "post", v1alpha1.Resource("rollouts"), "demo", "error trying to reach service: EOF", seconds, true)
	}
	tests := []struct {
		rule  string
		err   error
		calls int
	}{
		{"the connection was cut", reset, 2},
		{"half an answer", fmt.Errorf("unexpected error when reading response body: %w", io.ErrUnexpectedEOF), 2},
		{"the time of the request was over", &url.Error{Op: "Post", URL: "https://cluster", Err: context.DeadlineExceeded}, 2},
		{"the server in front lost the one behind", unavailable(0), 2},
		{"the server was too slow", apierrors.NewTimeoutError("too slow", 0), 2},
		{"the client has waited and asked again already", unavailable(1), 1},
		{"nobody listens", &url.Error{Op: "Post", URL: "https://cluster", Err: syscall.ECONNREFUSED}, 1},
		{"a refusal is an answer", apierrors.NewConflict(v1alpha1.Resource("rollouts"), "demo", errors.New("no")), 1},
		{"a broken server is an answer", apierrors.NewInternalError(errors.New("broken")), 1},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			b := newBench(demo())
			attempts := 0
			b.sluice.PrependReactor("create", "rollouts/pause", func(clienttesting.Action) (bool, runtime.Object, error) {
				if attempts++; attempts == 1 {
					return true, nil, test.err
				}
				return true, &v1alpha1.Pause{Status: v1alpha1.VerbStatus{Message: "paused"}}, nil
			})
			if test.calls == 1 {
				if code := b.do(t.Context(), "pause demo"); code != 1 {
					t.Errorf("exit code %d", code)
				}
			} else {
				b.expect(t, "pause demo", 0, "rollout.sluice.dev/demo paused", fmt.Sprintf("The answer was lost (%v). Asking again, with the same requestID.", test.err))
			}
			calls := b.calls("pause")
			if len(calls) != test.calls {
				t.Fatalf("%d calls, want %d", len(calls), test.calls)
			}
			if diff := cmp.Diff(calls[0].Object, calls[len(calls)-1].Object); diff != "" {
				t.Errorf("the second call is not the same: %s", diff)
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
	unmet := func() error {
		err := apierrors.NewConflict(v1alpha1.Resource("rollouts"), "demo", errors.New("the revision is 5, not 4; the step is 2, not 1"))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{
			{Type: "PreconditionFailed", Field: "expect.revision", Message: "the revision is 5, not 4"},
			{Type: "PreconditionFailed", Field: "expect.stepIndex", Message: "the step is 2, not 1"},
		}
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
		{"a line for each precondition that does not hold", unmet(), `Error from server (Conflict): Operation cannot be fulfilled on rollouts.sluice.dev "demo": the revision is 5, not 4; the step is 2, not 1
  cause: PreconditionFailed: expect.revision
  cause: PreconditionFailed: expect.stepIndex`},
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
