// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// rights stand for the host's authorizer: they remember what they were asked for.
type rights struct {
	mu      sync.Mutex
	allowed []string
	asked   []string
	// err is why they cannot be asked.
	err error
}

func (r *rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	right := strings.TrimSuffix(a.GetUser().GetName()+" "+a.GetVerb()+" "+a.GetResource()+"/"+a.GetSubresource(), "/")
	r.asked = append(r.asked, right)
	if r.err != nil {
		return authorizer.DecisionNoOpinion, "", r.err
	}
	if slices.Contains(r.allowed, right) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// plugins stand for the validating admission plugins of the host.
type plugins struct {
	mu   sync.Mutex
	seen []admission.Attributes
	deny error
	// onValidate is called while they are asked.
	onValidate func()
}

func (*plugins) Handles(admission.Operation) bool { return true }

func (p *plugins) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	p.mu.Lock()
	p.seen = append(p.seen, a)
	p.mu.Unlock()
	if p.onValidate != nil {
		p.onValidate()
	}
	return p.deny
}

// as is a request of somebody.
func as(name string, groups ...string) context.Context {
	return genericapirequest.WithUser(inNamespace(), &user.DefaultInfo{Name: name, Groups: groups})
}

// serverItself is a request of the server to itself.
func serverItself() context.Context { return as(user.APIServerUser, user.SystemPrivilegedGroup) }

// call makes a POST.
func (f *fixture) call(ctx context.Context, verb string, body rollouts.VerbBody, dryRun ...string) (rollouts.VerbBody, error) {
	obj, err := f.Verbs[verb].(*VerbREST).Create(ctx, "web", body, rest.ValidateAllObjectFunc, &metav1.CreateOptions{DryRun: dryRun, FieldManager: "tests"})
	if err != nil {
		return nil, err
	}
	return obj.(rollouts.VerbBody), nil
}

func (f *fixture) mustCall(t *testing.T, ctx context.Context, verb string, body rollouts.VerbBody) rollouts.VerbBody {
	t.Helper()
	answer, err := f.call(ctx, verb, body)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// updateAs is a PUT of somebody.
func (f *fixture) updateAs(ctx context.Context, change func(*rollouts.Rollout)) (*rollouts.Rollout, error) {
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		rollout := old.DeepCopyObject().(*rollouts.Rollout)
		change(rollout)
		return rollout, nil
	})
	obj, _, err := f.Rollout.Update(ctx, "web", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*rollouts.Rollout), nil
}

// causes are those of an error, as "CauseType field".
func causes(t *testing.T, err error) []string {
	t.Helper()
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) || answer.Status().Details == nil {
		t.Fatalf("got %v, want a Status", err)
	}
	var all []string
	for _, c := range answer.Status().Details.Causes {
		all = append(all, strings.TrimSpace(string(c.Type)+" "+c.Field))
	}
	return all
}

func TestEveryExpectationThatFailsIsACause(t *testing.T) {
	f := newFixture(t)
	before := f.pausedAtStep1(t)
	_, err := f.call(as("alice"), "promote", &rollouts.Promotion{
		ObjectMeta: metav1.ObjectMeta{UID: "x", ResourceVersion: "1"},
		VerbRequest: rollouts.VerbRequest{Expect: rollouts.VerbExpectation{
			Revision: ptr.To[int64](9), PodHash: "x", StepIndex: ptr.To[int32](0), UID: "x", ResourceVersion: "1"}},
	})
	want := []string{"metadata.uid", "metadata.resourceVersion", "expect.revision", "expect.podHash", "expect.stepIndex", "expect.uid", "expect.resourceVersion"}
	if !apierrors.IsConflict(err) {
		t.Fatalf("got %v", err)
	}
	got := causes(t, err)
	for i := range want {
		want[i] = "PreconditionFailed " + want[i]
	}
	if !slices.Equal(got, want) {
		t.Errorf("causes %v, want %v", got, want)
	}
	if len(f.plugins.seen) > 0 || f.get(t).ResourceVersion != before.ResourceVersion {
		t.Error("something was done all the same")
	}
	st := before.Status
	f.mustCall(t, as("alice"), "promote", &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{Expect: rollouts.VerbExpectation{
		Revision: &st.Revision, PodHash: st.CurrentPodHash, StepIndex: st.CurrentStepIndex, UID: before.UID, ResourceVersion: before.ResourceVersion}}})
}

func TestARequestIDIsPerformedOnce(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	request := rollouts.VerbRequest{RequestID: "r1", Reason: "because"}
	first := f.mustCall(t, as("alice"), "promote", &rollouts.Promotion{VerbRequest: request})
	stored := f.get(t)
	repeated := false
	again := f.mustCall(t, WithRepeated(as("alice"), &repeated), "promote", &rollouts.Promotion{VerbRequest: request})
	if !repeated || !apiequality.Semantic.DeepEqual(first.VerbStatus().Action, again.VerbStatus().Action) || f.get(t).ResourceVersion != stored.ResourceVersion || len(f.performed) != 1 {
		t.Errorf("repeated %v, %d performed: %+v, %+v", repeated, len(f.performed), first.VerbStatus().Action, again.VerbStatus().Action)
	}
	for what, other := range map[string]func() error{
		"another user": func() error {
			_, err := f.call(as("bob"), "promote", &rollouts.Promotion{VerbRequest: request})
			return err
		},
		"another verb": func() error {
			_, err := f.call(as("alice"), "abort", &rollouts.Abort{VerbRequest: request})
			return err
		},
		"another body": func() error {
			_, err := f.call(as("alice"), "promote", &rollouts.Promotion{Full: true, VerbRequest: request})
			return err
		},
	} {
		if err := other(); !apierrors.IsConflict(err) || causes(t, err)[0] != "RequestIDReused" {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestRefusalsAndDryRunsAreNotRemembered(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	request := rollouts.VerbRequest{RequestID: "r1"}
	if _, err := f.call(as("alice"), "retry", &rollouts.Retry{VerbRequest: request}); !apierrors.IsConflict(err) {
		t.Fatalf("got %v", err)
	}
	if answer, err := f.call(as("alice"), "promote", &rollouts.Promotion{VerbRequest: request}, metav1.DryRunAll); err != nil || answer.VerbStatus().Action == nil {
		t.Fatalf("got %v", err)
	}
	if n := len(f.performed) + len(f.get(t).Status.Actions); n != 0 {
		t.Fatalf("%d actions were recorded", n)
	}
	f.mustCall(t, as("alice"), "promote", &rollouts.Promotion{VerbRequest: request})
}

func TestWhatTheServerAttests(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	ctx := WithCaller(as("alice", "b", "a"), &Caller{User: &user.DefaultInfo{Name: "proxy"}})
	f.mustCall(t, ctx, "promote", &rollouts.Promotion{VerbRequest: rollouts.VerbRequest{Reason: "why not"}, Status: rollouts.VerbStatus{Action: &rollouts.RolloutAction{User: "forged"}}})
	actions := f.get(t).Status.Actions
	if len(actions) != 1 {
		t.Fatalf("%d actions", len(actions))
	}
	a := actions[0]
	if a.Verb != "promote" || a.User != "alice" || a.Impersonator != "proxy" || a.Reason != "why not" || a.GroupsDigest == "" || *a.FromStep != 1 || *a.ToStep != 2 ||
		a.Revision != 2 || a.PodHash != "hash-of-red" || !a.Time.Time.Equal(f.clock.Now()) || a.Outcome != rollouts.ActionDone || a.Message == "" {
		t.Errorf("%+v", a)
	}
}

// TestNobodyForgesWhatIsAttested: through no path can a client write what the server stamps.
func TestNobodyForgesWhatIsAttested(t *testing.T) {
	f := newFixture(t)
	forge := func(r *rollouts.Rollout) {
		r.Status.Actions = []rollouts.RolloutAction{{Verb: "promote", User: "forged"}}
		r.Status.Approvals = []rollouts.RolloutApproval{{User: "forged"}}
		r.Status.TemplateAuthors = []string{"forged"}
	}
	body := newRollout()
	forge(body)
	if created, err := f.Rollout.Create(as("alice"), body, nil, &metav1.CreateOptions{}); err != nil || !slices.Equal(created.(*rollouts.Rollout).Status.TemplateAuthors, []string{"alice"}) || created.(*rollouts.Rollout).Status.Actions != nil {
		t.Fatalf("create: %v, %+v", err, created)
	}
	clean := func(how string) {
		t.Helper()
		st := f.get(t).Status
		if len(st.Actions) > 0 || len(st.Approvals) > 0 || !slices.Equal(st.TemplateAuthors, []string{"alice"}) {
			t.Errorf("%s: %+v %+v %v", how, st.Actions, st.Approvals, st.TemplateAuthors)
		}
	}
	clean("create")
	if _, err := f.updateAs(as("bob"), func(r *rollouts.Rollout) { forge(r); r.Spec.Replicas = ptr.To[int32](7) }); err != nil {
		t.Fatal(err)
	}
	clean("update")
	forged := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		r := old.DeepCopyObject().(*rollouts.Rollout)
		forge(r)
		r.Status.Message = "touched"
		return r, nil
	})
	for _, who := range []context.Context{as("bob"), as(user.APIServerUser), as("bob", user.SystemPrivilegedGroup), inNamespace()} {
		for _, apply := range []bool{false, true} {
			if _, _, err := f.Status.Update(who, "web", forged, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, apply, &metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			clean("status")
		}
	}
	if _, _, err := f.Status.Update(serverItself(), "web", forged, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := f.get(t).Status.TemplateAuthors; !slices.Equal(got, []string{"forged"}) {
		t.Errorf("the server itself cannot clear authors: %v", got)
	}
}

func TestPoliciesSeeAVerbAsTheChangeThatItIs(t *testing.T) {
	f := newFixture(t)
	before := f.pausedAtStep1(t)
	f.mustCall(t, as("alice"), "promote", &rollouts.Promotion{})
	if len(f.plugins.seen) != 1 {
		t.Fatalf("the second pass was made %d times", len(f.plugins.seen))
	}
	a := f.plugins.seen[0]
	old, changed := a.GetOldObject().(*rollouts.Rollout), a.GetObject().(*rollouts.Rollout)
	if a.GetOperation() != admission.Update || a.GetResource().Resource != "rollouts" || a.GetSubresource() != "" || a.GetName() != "web" || a.GetNamespace() != namespace ||
		a.GetKind().Kind != "Rollout" || a.GetUserInfo().GetName() != "alice" || a.IsDryRun() ||
		*old.Status.CurrentStepIndex != 1 || *changed.Status.CurrentStepIndex != 2 || old.ResourceVersion != before.ResourceVersion || len(changed.Status.Actions) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestADeniedVerbLeavesNothingChangedAndAbortCannotBeDeniedAsAChange(t *testing.T) {
	f := newFixture(t)
	before := f.pausedAtStep1(t)
	f.plugins.deny = apierrors.NewForbidden(rollouts.Resource("rollouts"), "web", errors.New("it is Friday"))
	for verb, body := range map[string]rollouts.VerbBody{"promote": &rollouts.Promotion{}, "pause": &rollouts.Pause{}, "restart": &rollouts.Restart{}, "undo": &rollouts.Undo{ToRevision: 1}} {
		if _, err := f.call(as("alice"), verb, body); !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v", verb, err)
		}
	}
	if f.get(t).ResourceVersion != before.ResourceVersion || len(f.performed) != 0 {
		t.Error("something was changed")
	}
	f.plugins.seen = nil
	f.mustCall(t, as("alice"), "abort", &rollouts.Abort{})
	if len(f.plugins.seen) != 0 {
		t.Error("an abort was shown as a change")
	}
}

func TestAVerbRetriesTheControllersOwnWritesWithoutAskingPoliciesAgain(t *testing.T) {
	f := newFixture(t)
	f.pausedAtStep1(t)
	asked := 0
	counted := func(context.Context, runtime.Object) error {
		asked++
		f.setStatus(t, func(r *rollouts.Rollout) { r.Status.ReadyReplicas = 3 })
		return nil
	}
	if _, err := f.Verbs["promote"].(*VerbREST).Create(as("alice"), "web", &rollouts.Promotion{}, counted, &metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if asked != 1 || len(f.plugins.seen) != 1 {
		t.Errorf("policies were asked %d and %d times", asked, len(f.plugins.seen))
	}
}

// owners are the managers of the fields of a Rollout, each with whether it owns a field of the spec.
func owners(r *rollouts.Rollout, field string) []string {
	var names []string
	for _, m := range r.ManagedFields {
		if strings.Contains(string(m.FieldsV1.Raw), field) {
			names = append(names, m.Manager+" "+string(m.Operation))
		}
	}
	return names
}

func TestVerbsThatChangeTheSpecOwnWhatTheyChange(t *testing.T) {
	for verb, test := range map[string]struct {
		body  rollouts.VerbBody
		field string
	}{
		"pause":   {&rollouts.Pause{}, "f:paused"},
		"restart": {&rollouts.Restart{}, "f:restartAt"},
		"undo":    {&rollouts.Undo{ToRevision: 1}, "f:image"},
	} {
		t.Run(verb, func(t *testing.T) {
			f := newFixture(t)
			before := f.pausedAtStep1(t)
			f.mustCall(t, as("alice"), verb, test.body)
			after := f.get(t)
			if after.Generation != before.Generation+1 {
				t.Errorf("generation %d after %d", after.Generation, before.Generation)
			}
			if got := owners(after, test.field); !slices.Contains(got, "tests Update") {
				t.Errorf("%s is owned by %v", test.field, got)
			}
		})
	}
	f := newFixture(t)
	before := f.pausedAtStep1(t)
	f.mustCall(t, as("alice"), "promote", &rollouts.Promotion{})
	f.mustCall(t, as("alice"), "abort", &rollouts.Abort{})
	f.mustCall(t, as("alice"), "retry", &rollouts.Retry{})
	if after := f.get(t); !apiequality.Semantic.DeepEqual(before.ManagedFields, after.ManagedFields) || after.Generation != before.Generation {
		t.Errorf("managedFields %+v, before %+v", after.ManagedFields, before.ManagedFields)
	}
}
