// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

func TestUsageErrorsExitWithOneAndAHint(t *testing.T) {
	tests := []struct{ line, errOut string }{
		{"promote", "error: exactly one NAME of a Rollout is required, not 0\nSee 'kubectl sluice promote --help' for usage."},
		{"abort a b", "error: exactly one NAME of a Rollout is required, not 2\nSee 'kubectl sluice abort --help' for usage."},
		{"promote pod/demo", "error: \"pod/demo\" is not a Rollout: write NAME or rollout/NAME\nSee 'kubectl sluice promote --help' for usage."},
		{"status rollout/", "error: the name of a Rollout must not be empty\nSee 'kubectl sluice status --help' for usage."},
		{"promote demo --ful", "error: unknown flag: --ful\nSee 'kubectl sluice promote --help' for usage."},
		{"promot demo", "error: unknown command \"promot\" for \"kubectl sluice\"; did you mean promote?\nSee 'kubectl sluice --help' for usage."},
		{"get", "error: say what to get: rollout\nSee 'kubectl sluice get --help' for usage."},
		{"get pod x", "error: unknown command \"pod\" for \"kubectl sluice get\"; there is rollout\nSee 'kubectl sluice get --help' for usage."},
		{"list rollouts x", "error: unexpected argument \"x\"\nSee 'kubectl sluice list rollouts --help' for usage."},
		{"set image demo", "error: NAME and at least one CONTAINER=IMAGE are required\nSee 'kubectl sluice set image --help' for usage."},
		{"set image demo app", "error: \"app\" is not of the form CONTAINER=IMAGE\nSee 'kubectl sluice set image --help' for usage."},
		{"set image demo =app:1", "error: \"=app:1\" is not of the form CONTAINER=IMAGE\nSee 'kubectl sluice set image --help' for usage."},
		{"promote demo --dry-run=client", "error: invalid argument \"client\" for \"--dry-run\" flag: must be none or server: only the server knows what a verb does\nSee 'kubectl sluice promote --help' for usage."},
		{"abort demo --expect-step -1", "error: invalid argument \"-1\" for \"--expect-step\" flag: must be a whole number, 0 or greater\nSee 'kubectl sluice abort --help' for usage."},
		{"undo demo --to-revision last", "error: invalid argument \"last\" for \"--to-revision\" flag: must be a whole number, 0 or greater\nSee 'kubectl sluice undo --help' for usage."},
		{"restart demo --in -5m", "error: --in must not be negative: give 30m for half an hour from now\nSee 'kubectl sluice restart --help' for usage."},
		{"pause demo --override", "error: unknown flag: --override\nSee 'kubectl sluice pause --help' for usage."},
		{"plan", "error: give the NAME of a Rollout, or a manifest with -f\nSee 'kubectl sluice plan --help' for usage."},
		{"explain", "error: exactly one NAME of a Rollout is required, not 0\nSee 'kubectl sluice explain --help' for usage."},
		{"detach", "error: exactly one NAME of a Rollout is required, not 0\nSee 'kubectl sluice detach --help' for usage."},
		{"detach demo --all", "error: give either NAME or --all, not both\nSee 'kubectl sluice detach --help' for usage."},
		{"detach demo -A", "error: --all-namespaces needs --all\nSee 'kubectl sluice detach --help' for usage."},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			newBench(demo()).expect(t, test.line, 1, "", test.errOut)
		})
	}
}

func TestHelpSpeaksOfKubectlSluice(t *testing.T) {
	b := newBench()
	if code := b.do(t.Context(), "promote --help"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	out := b.out.String()
	if !strings.Contains(out, "kubectl sluice promote NAME [flags]") {
		t.Errorf("the usage does not name the plugin as it is called:\n%s", out)
	}
	if strings.Contains(out, "--certificate-authority") || !strings.Contains(out, "lists the flags that choose the cluster") {
		t.Errorf("the connection flags are to be shown by the root only:\n%s", out)
	}
}

func TestGetRollout(t *testing.T) {
	b := newBench(treeOf(demo()))
	if code := b.do(t.Context(), "get rollout rollout.sluice.dev/demo"); code != 0 {
		t.Fatalf("exit code %d: %s", code, b.errOut)
	}
	out := b.out.String()
	for _, want := range []string{"Name:            demo\n", "  Step:          1/3\n", "⟳ demo", "⧉ demo-new", "canary", "□ demo-new-p0  Pod         ✔ Running"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours do not belong into a pipe:\n%s", out)
	}
	b.expectRequests(t, "get rollouttrees")
}

// expectRequests checks all requests that were sent to either API server.
func (b *bench) expectRequests(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, action := range append(b.sluice.Actions(), b.kube.Actions()...) {
		got = append(got, strings.TrimSuffix(action.GetVerb()+" "+action.GetResource().Resource+"/"+action.GetSubresource(), "/"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests: %q, want %q", got, want)
	}
}

func TestGetRolloutThatIsNotThere(t *testing.T) {
	for _, line := range []string{"get rollout demo", "get rollout demo --watch"} {
		newBench().expect(t, line, 1, "", `Error from server (NotFound): rollouttrees.sluice.dev "demo" not found`)
	}
}

// update changes a tree as the server does when something changes in the cluster.
func (b *bench) update(t *testing.T, tree *v1alpha1.RolloutTree) {
	t.Helper()
	if err := b.sluice.Tracker().Update(v1alpha1.SchemeGroupVersion.WithResource("rollouttrees"), tree, "shop"); err != nil {
		t.Fatal(err)
	}
}

func TestWatchInAPipePrintsABlockForEachChange(t *testing.T) {
	tree := treeOf(demo())
	b := newBench(tree)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- b.do(ctx, "get rollout demo --watch") }()
	awaitWatch(t, &b.sluice.Fake, "rollouttrees")
	await(t, "first block", func() bool { return strings.Contains(b.out.String(), "॥ Paused") })

	b.update(t, treeOf(demo(phase(v1alpha1.RolloutPhaseHealthy, ""))))
	await(t, "second block", func() bool { return strings.Contains(b.out.String(), "✔ Healthy\nStrategy") })
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("Ctrl-C is the normal end of a watch, not exit code %d", got)
	}
	if out := b.out.String(); strings.Count(out, "Name: ") != 2 || strings.Contains(out, "\x1b") || !strings.Contains(out, "\n\nName: ") {
		t.Errorf("want two blocks with an empty line between them and no escape codes:\n%q", out)
	}
	list := b.sluice.Actions()[0].(clienttesting.ListAction).GetListRestrictions()
	if list.Fields.String() != "metadata.name=demo" {
		t.Errorf("asked for %q", list.Fields)
	}
	b.expectRequests(t, "list rollouttrees", "watch rollouttrees")
}

func TestWatchGoesOnWhenTheServerEndsIt(t *testing.T) {
	b := newBench(treeOf(demo()))
	first, watches := watch.NewFake(), atomic.Int32{}
	b.sluice.PrependWatchReactor("rollouttrees", func(clienttesting.Action) (bool, watch.Interface, error) {
		return watches.Add(1) == 1, first, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- b.do(ctx, "get rollout demo --watch") }()
	await(t, "first watch", func() bool { return watches.Load() == 1 })
	await(t, "first block", func() bool { return strings.Contains(b.out.String(), "॥ Paused") })

	// The server has restarted: what was watched from is unknown to it, and something has changed since.
	b.update(t, treeOf(demo(phase(v1alpha1.RolloutPhaseDegraded, "gone wrong"))))
	first.Error(&apierrors.NewResourceExpired("too old resource version").ErrStatus)
	first.Stop()
	await(t, "block after it", func() bool { return strings.Contains(b.out.String(), "gone wrong") })
	cancel()
	if got := <-code; got != 0 || b.errOut.String() != "" {
		t.Errorf("exit code %d, %s", got, b.errOut)
	}
}

func TestWatchEndsWhenTheRolloutIsDeleted(t *testing.T) {
	b := newBench(treeOf(demo()))
	code := make(chan int, 1)
	go func() { code <- b.do(t.Context(), "get rollout demo --watch") }()
	awaitWatch(t, &b.sluice.Fake, "rollouttrees")
	await(t, "first block", func() bool { return b.out.String() != "" })
	if err := b.sluice.Tracker().Delete(v1alpha1.SchemeGroupVersion.WithResource("rollouttrees"), "shop", "demo"); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != 1 || b.errOut.String() != "error: rollout.sluice.dev/demo was deleted\n" {
		t.Errorf("exit code %d, %s", got, b.errOut)
	}
}

func TestWatchEndsWithItsTimeout(t *testing.T) {
	b := newBench(treeOf(demo()))
	if code := b.do(t.Context(), "get rollout demo --watch --timeout 50ms"); code != 0 {
		t.Errorf("exit code %d: %s", code, b.errOut)
	}
}

func TestListRollouts(t *testing.T) {
	other := demo(func(r *v1alpha1.Rollout) { r.Name, r.Namespace = "api", "edge" }, phase(v1alpha1.RolloutPhaseHealthy, ""))
	tests := []struct{ line, out, errOut string }{
		{"list rollouts", `
NAME  STRATEGY  STATUS  STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
demo  Canary    Paused  1/3   20          1/1    1        0           0`, ""},
		{"list ro -A", `
NAMESPACE  NAME  STRATEGY  STATUS   STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
edge       api   Canary    Healthy  1/3   20          1/1    1        0           0
shop       demo  Canary    Paused   1/3   20          1/1    1        0           0`, ""},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			newBench(demo(), other).expect(t, test.line, 0, test.out, test.errOut)
		})
	}
	newBench().expect(t, "list rollouts", 0, "", "No resources found in shop namespace.")
	newBench().expect(t, "list rollouts -A", 0, "", "No resources found")
}

func TestListByNameAsksTheServer(t *testing.T) {
	b := newBench(demo())
	b.do(t.Context(), "list rollouts --name demo")
	if fields := b.sluice.Actions()[0].(clienttesting.ListAction).GetListRestrictions().Fields.String(); fields != "metadata.name=demo" {
		t.Errorf("asked for %q", fields)
	}
}

func TestListWatchPrintsRowsThatChange(t *testing.T) {
	r := demo()
	b := newBench(r)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- b.do(ctx, "list rollouts --watch") }()
	awaitWatch(t, &b.sluice.Fake, "rollouts")
	await(t, "first row", func() bool { return strings.Contains(b.out.String(), "1/3") })
	r = r.DeepCopy()
	r.Status.CurrentStepIndex = ptr.To[int32](2)
	if err := b.sluice.Tracker().Update(v1alpha1.SchemeGroupVersion.WithResource("rollouts"), r, "shop"); err != nil {
		t.Fatal(err)
	}
	await(t, "second row", func() bool { return strings.Contains(b.out.String(), "2/3") })
	cancel()
	if got := <-code; got != 0 || strings.Count(b.out.String(), "NAME") != 1 {
		t.Errorf("exit code %d, %s", got, b.out)
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		rule, line  string
		phase       func(*v1alpha1.Rollout)
		code        int
		out, errOut string
	}{
		{"Healthy ends it with 0", "status demo", phase(v1alpha1.RolloutPhaseHealthy, ""), 0, "Healthy", ""},
		{"Degraded ends it with 1", "status demo", phase(v1alpha1.RolloutPhaseDegraded, "RolloutAborted: why"), 1, "Degraded - RolloutAborted: why",
			"error: The rollout is in a degraded state with message: RolloutAborted: why"},
		{"a pause does not end it, the timeout does, with 1", "status demo -t 100ms", phase(v1alpha1.RolloutPhasePaused, "CanaryPauseStep"), 1, "Paused - CanaryPauseStep",
			"error: Rollout status watch exceeded timeout"},
		{"an old status is not believed", "status demo --timeout 100ms", func(r *v1alpha1.Rollout) {
			r.Generation = 3
			phase(v1alpha1.RolloutPhaseHealthy, "")(r)
		}, 1, "Progressing - waiting for rollout spec update to be observed", "error: Rollout status watch exceeded timeout"},
		{"--watch=false prints once, with 0", "status demo --watch=false", phase(v1alpha1.RolloutPhasePaused, "CanaryPauseStep"), 0, "Paused - CanaryPauseStep", ""},
		{"--watch=false fails only when Degraded", "status demo --watch=false", phase(v1alpha1.RolloutPhaseDegraded, "why"), 1, "Degraded - why",
			"error: The rollout is in a degraded state with message: why"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			newBench(demo(test.phase)).expect(t, test.line, test.code, test.out, test.errOut)
		})
	}
}

func TestStatusPrintsEachChangeOnce(t *testing.T) {
	r := demo()
	b := newBench(r)
	code := make(chan int, 1)
	go func() { code <- b.do(t.Context(), "status demo") }()
	awaitWatch(t, &b.sluice.Fake, "rollouts")
	await(t, "first line", func() bool { return b.out.String() != "" })
	for _, change := range []func(*v1alpha1.Rollout){
		func(r *v1alpha1.Rollout) { r.Status.ReadyReplicas = 0 },
		phase(v1alpha1.RolloutPhaseHealthy, ""),
	} {
		r = r.DeepCopy()
		change(r)
		if err := b.sluice.Tracker().Update(v1alpha1.SchemeGroupVersion.WithResource("rollouts"), r, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-code; got != 0 || b.out.String() != "Paused - CanaryPauseStep\nHealthy\n" {
		t.Errorf("exit code %d, printed %q", got, b.out)
	}
}

func TestStatusInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := newBench(demo())
	code := make(chan int, 1)
	go func() { code <- b.do(ctx, "status demo") }()
	await(t, "first line", func() bool { return b.out.String() != "" })
	cancel()
	if got := <-code; got != exitInterrupted || b.errOut.String() != "" {
		t.Errorf("exit code %d, %q", got, b.errOut)
	}
}
