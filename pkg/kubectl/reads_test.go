// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// show makes the server answer a GET of a subresource.
func (b *bench) show(subresource string, reply runtime.Object, err error) {
	b.sluice.PrependReactor("get", "rollouts/"+subresource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, reply, err
	})
}

func planOf(message string) *v1alpha1.RolloutPlan {
	return &v1alpha1.RolloutPlan{Status: v1alpha1.RolloutPlanStatus{Message: message, Steps: []v1alpha1.PlannedStep{
		{Index: ptr.To[int32](0), Action: v1alpha1.PlannedSetWeight, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 6},
		{Index: ptr.To[int32](1), Action: v1alpha1.PlannedPause, Weight: 20, StableReplicas: 4, CanaryReplicas: 1, PeakReplicas: 5, UntilPromoted: true},
	}}}
}

const plannedTable = `
STEP  ACTION     WEIGHT  STABLE  CANARY  PEAK  WAIT
0     SetWeight  20      4       1       6
1     Pause      20      4       1       5     until promoted

`

func TestPlanOfWhatIsStored(t *testing.T) {
	b := newBench(demo())
	b.show("plan", planOf("as stored"), nil)
	b.expect(t, "plan demo", 0, plannedTable+"as stored", "")
	b.expectRequests(t, "get rollouts/plan")
}

const plannedManifest = `
apiVersion: v1
kind: Service
metadata: {name: demo}
---
apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata: {name: demo%s}
spec:
  replicas: 7
  selector: {matchLabels: {app: demo}}
  template:
    metadata: {labels: {app: demo}}
    spec: {containers: [{name: app, image: "app:2"}]}
  strategy: {canary: {steps: [{setWeight: 50}, {pause: {}}]}}
`

// manifest writes a file and returns its name.
func manifest(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rollout.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPlanOfAChange(t *testing.T) {
	here, elsewhere := fmt.Sprintf(plannedManifest, ""), fmt.Sprintf(plannedManifest, ", namespace: edge")
	tests := []struct {
		rule, args, text, namespace string
	}{
		{"the name is that of the only Rollout in the file", "plan -f FILE", here, "shop"},
		{"the name may be given too", "plan rollout/demo -f FILE", here, "shop"},
		{"it chooses among several", "plan demo -f FILE", here + "---\n" + strings.ReplaceAll(here, "demo", "other"), "shop"},
		{"standard input", "plan -f -", here, "shop"},
		{"the namespace of the file goes before that of the kubeconfig", "plan -f FILE", elsewhere, "edge"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			b := newBench(demo())
			b.In = strings.NewReader(test.text)
			b.answer("plan", planOf("as changed"), nil)
			b.expect(t, strings.ReplaceAll(test.args, "FILE", manifest(t, test.text)), 0, plannedTable+"as changed", "")
			calls := b.calls("plan")
			if len(calls) != 1 || calls[0].Name != "demo" || calls[0].GetNamespace() != test.namespace {
				t.Fatalf("called %v", calls)
			}
			spec := calls[0].Object.(*v1alpha1.RolloutPlan).Spec
			if *spec.Replicas != 7 || spec.Template.Spec.Containers[0].Image != "app:2" || *spec.Strategy.Canary.Steps[0].SetWeight != 50 {
				t.Errorf("sent %+v", spec)
			}
		})
	}
}

func TestPlanOfABadFile(t *testing.T) {
	good := fmt.Sprintf(plannedManifest, "")
	tests := []struct {
		rule, args, text, errOut string
	}{
		{"no such file", "plan -f absent.yaml", "", "error: open absent.yaml: no such file or directory"},
		{"nothing in it", "plan -f FILE", "", "error: FILE: there is no Rollout of sluice.dev/v1alpha1 in it"},
		{"a Rollout of another group", "plan demo -f FILE", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: demo}\n",
			"error: FILE: there is no Rollout of sluice.dev/v1alpha1 in it"},
		{"another name", "plan api -f FILE", good, `error: FILE: there is no Rollout "api" in it, but demo`},
		{"several, and no name", "plan -f FILE", good + "---" + strings.ReplaceAll(good, "demo", "other"),
			"error: FILE: there is more than one Rollout in it: give the NAME of one of demo, other"},
		{"a field that does not exist is not lost", "plan -f FILE", strings.Replace(good, "replicas:", "replicsa:", 1),
			`error: FILE: document 2: strict decoding error: unknown field "spec.replicsa"`},
		{"no YAML", "plan -f FILE", "a: b: c", "error: FILE: document 1: error converting YAML to JSON: yaml: mapping values are not allowed in this context"},
		{"without a name", "plan -f FILE", "apiVersion: sluice.dev/v1alpha1\nkind: Rollout\n", "error: FILE: document 1: metadata.name of the Rollout must not be empty"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			file := manifest(t, test.text)
			b := newBench(demo())
			b.expect(t, strings.ReplaceAll(test.args, "FILE", file), 1, "", strings.ReplaceAll(test.errOut, "FILE", file))
			b.expectRequests(t)
		})
	}
}

func TestNamespaceOfAFile(t *testing.T) {
	tests := []struct {
		rule     string
		file     string
		enforced bool
		want     string
		err      string
	}{
		{"the file does not say", "", true, "shop", ""},
		{"the file says another than the kubeconfig", "edge", false, "edge", ""},
		{"the file says the same as the flag", "shop", true, "shop", ""},
		{"the file says another than the flag", "edge", true, "", "the namespace of rollout.sluice.dev/demo in the file is edge, but --namespace is shop"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got, err := (&cluster{namespace: "shop", enforced: test.enforced}).namespaceOf(demo(func(r *v1alpha1.Rollout) { r.Namespace = test.file }))
			if got != test.want || (err != nil || test.err != "") && fmt.Sprint(err) != test.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	b := newBench(demo())
	b.show("explain", &v1alpha1.RolloutExplanation{Status: v1alpha1.RolloutExplanationStatus{
		Phase: v1alpha1.RolloutPhasePaused, Message: "CanaryPauseStep", Blockers: []v1alpha1.Blocker{{
			Code: v1alpha1.BlockerPaused, Since: ptr.To(metav1.NewMicroTime(testNow.Add(-2 * time.Hour))),
			Message: "step 1/3 is a pause without an end: it waits until somebody promotes", Next: "kubectl sluice promote demo -n shop",
		}},
	}}, nil)
	b.expect(t, "explain demo", 0, `
॥ Paused: CanaryPauseStep

Paused, since 2026-01-02T10:00:00Z (120m)
  step 1/3 is a pause without an end: it waits until somebody promotes
  next: kubectl sluice promote demo -n shop`, "")
	b.expectRequests(t, "get rollouts/explain")

	b = newBench(demo())
	b.show("explain", nil, apierrors.NewNotFound(v1alpha1.Resource("rollouts"), "demo"))
	b.expect(t, "explain demo", 1, "", `Error from server (NotFound): rollouts.sluice.dev "demo" not found`)
}

func TestHistory(t *testing.T) {
	r := demo(func(r *v1alpha1.Rollout) {
		r.Status.Actions = []v1alpha1.RolloutAction{{
			Verb: "promote", Outcome: v1alpha1.ActionDone, User: "jane", FromStep: ptr.To[int32](0), ToStep: ptr.To[int32](1), Revision: 4,
			Reason: "looks good", Time: metav1.NewMicroTime(testNow),
		}}
	})
	old, current := replicaSetOf(r, "old"), replicaSetOf(r, "new")
	old.Annotations[rollouts.OutcomeAnnotation], old.Annotations[rollouts.OutcomeTimeAnnotation] = rollouts.OutcomePromoted, "2026-01-01T08:00:00Z"
	old.Annotations[rollouts.OutcomeReasonAnnotation] = "fully available"
	current.Annotations[rollouts.RevisionAnnotation] = "4"
	stranger := replicaSetOf(demo(func(r *v1alpha1.Rollout) { r.Name, r.UID = "other", "uid-other" }), "x")
	const actions = `
WHEN                  VERB     USER  STEP  REVISION  OUTCOME  REASON
2026-01-02T12:00:00Z  promote  jane  0->1  4         done     looks good`

	b := newBench(r, old, current, stranger)
	b.expect(t, "history demo", 0, `
REVISION  OUTCOME                WHEN                  BY  REASON           IMAGES
1         promoted (stable)      2026-01-01T08:00:00Z  -   fully available  -
4         in progress (current)  -                     -   -                -
`+actions, "")
	selector := b.kube.Actions()[0].(clienttesting.ListAction).GetListRestrictions().Labels.String()
	if diff := cmp.Diff("app=demo,sluice.dev/pod-template-hash", selector); diff != "" {
		t.Errorf("listed more than what may belong to the Rollout: %s", diff)
	}

	b = newBench(r)
	b.kube.PrependReactor("list", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "replicasets"}, "", errors.New(`User "eve" cannot list resource "replicasets"`))
	})
	b.expect(t, "history demo", 1, actions, `Error from server (Forbidden): replicasets.apps is forbidden: User "eve" cannot list resource "replicasets"`)
}

func TestEveryCommandHasAnExampleThatIsOne(t *testing.T) {
	b := newBench()
	code := b.do(t.Context(), "--help")
	if code != 0 || !strings.Contains(b.out.String(), "Commands that steer:\n") || !strings.Contains(b.out.String(), "Commands that look:\n") {
		t.Errorf("exit code %d:\n%s", code, b.out)
	}
	for _, line := range []string{
		"get rollout", "list rollouts", "status", "explain", "plan", "history", "set image", "promote", "abort", "retry", "undo", "pause", "resume", "restart", "detach",
	} {
		b := newBench()
		if code := b.do(t.Context(), line+" --help"); code != 0 || !strings.Contains(b.out.String(), "kubectl sluice "+line+" ") {
			t.Errorf("%s: exit code %d, the examples do not name it:\n%s", line, code, b.out)
		}
	}
}
