// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// quietFor is how long nothing may be logged of a Rollout that stands still.
const quietFor = 3 * time.Second

// decided is a line of the log about a decision, in either format.
type decided struct {
	Rollout  string
	Revision int64
	Wrote    []string
	Phase    string
	Step     int
	Why      string
}

// textLine is a line as klog writes it: a header, the message, and pairs.
var (
	textLine = regexp.MustCompile(`^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [^ :]+:\d+\] (.*)$`)
	textPair = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+)`)
)

// fromText reads a line in text; false if it is not about a decision.
func fromText(t *testing.T, line string) (d decided, is bool) {
	t.Helper()
	parts := textLine.FindStringSubmatch(line)
	if parts == nil {
		t.Errorf("this is no line of a log in text: %s", line)
		return d, false
	}
	if !strings.HasPrefix(parts[1], `"Decided" `) {
		return d, false
	}
	for _, pair := range textPair.FindAllStringSubmatch(parts[1], -1) {
		value, err := strconv.Unquote(pair[2])
		if err != nil {
			value = pair[2]
		}
		switch pair[1] {
		case "rollout":
			d.Rollout = value
		case "revision":
			d.Revision, _ = strconv.ParseInt(value, 10, 64)
		case "wrote":
			if err := json.Unmarshal([]byte(value), &d.Wrote); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		case "phase":
			d.Phase = value
		case "step":
			d.Step, _ = strconv.Atoi(value)
		case "why":
			d.Why = value
		}
	}
	return d, true
}

// fromJSON reads a line in JSON; false if it is not about a decision.
func fromJSON(t *testing.T, line string) (d decided, is bool) {
	t.Helper()
	var content struct {
		Msg      string
		Rollout  struct{ Namespace, Name string }
		Revision int64
		Wrote    []string
		Phase    string
		Step     int
		Why      string
	}
	if err := json.Unmarshal([]byte(line), &content); err != nil {
		// Other lines have other types under the same names.
		var any map[string]any
		if err := json.Unmarshal([]byte(line), &any); err != nil || any["msg"] == nil || any["ts"] == nil {
			t.Errorf("this is no line of a log in JSON: %s", line)
		}
		return d, false
	}
	c := content
	return decided{c.Rollout.Namespace + "/" + c.Rollout.Name, c.Revision, c.Wrote, c.Phase, c.Step, c.Why}, c.Msg == "Decided"
}

// An update leaves a line for each decision that changed something: which step, what was written and why. In a steady
// state there is none. So it is in both formats, of which every line can be parsed.
func TestALineForEachDecision(t *testing.T) {
	for format, parse := range map[string]func(*testing.T, string) (decided, bool){"text": fromText, "json": fromJSON} {
		t.Run(format, func(t *testing.T) {
			s, log := startProcess(t, "--logging-format="+format)
			decisions := func() (found []decided) {
				for _, line := range log.lines() {
					if d, is := parse(t, line); is && d.Rollout == "default/logged" {
						found = append(found, d)
					}
				}
				return found
			}
			final := s.updateInSteps(t, "logged")
			var told []decided
			// What is logged is read a moment after what is stored.
			err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
				told = decisions()
				return len(told) > 0 && told[len(told)-1].Revision == 2 && told[len(told)-1].Phase == "Healthy", nil
			})
			if err != nil {
				t.Errorf("no line tells that it is Healthy: %v", err)
			}
			holdsUp(t, told)
			s.sizesAsTold(t, final, told)
			time.Sleep(quietFor) // Nothing can be waited for where nothing is to happen.
			if later := decisions(); len(later) != len(told) {
				t.Errorf("in a steady state it decided %+v", later[len(told):])
			}
		})
	}
}

// updateInSteps brings a Rollout from its first version to the second.
func (s *instance) updateInSteps(t *testing.T, name string) *v1alpha1.Rollout {
	t.Helper()
	client := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	r := newRollout(name, weight(25), pause(), weight(50), pause())
	*r.Spec.Replicas = 4
	if _, err := client.Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.await(t, name, "Healthy", healthy)
	if _, err := client.Patch(t.Context(), name, types.JSONPatchType, imagePatch("app:green"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for step := range int32(2) {
		s.await(t, name, "paused", func(r *v1alpha1.Rollout) bool { return paused(r) && *r.Status.CurrentStepIndex == 2*step+1 })
		if _, err := client.Promote(t.Context(), name, &v1alpha1.Promotion{}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s.await(t, name, "Healthy", healthy)
}

// holdsUp checks that the lines tell the update step by step.
func holdsUp(t *testing.T, told []decided) {
	t.Helper()
	var steps []string
	created := 0
	for _, d := range told {
		if len(d.Wrote) == 0 || d.Why == "" {
			t.Errorf("a line without what was written, or without why: %+v", d)
		}
		for _, write := range d.Wrote {
			if strings.HasPrefix(write, "created ReplicaSet ") {
				created++
			}
		}
		now := fmt.Sprintf("%d %s %d", d.Revision, d.Phase, d.Step)
		if len(steps) == 0 || steps[len(steps)-1] != now {
			steps = append(steps, now)
		}
	}
	want := []string{"1 Progressing 4", "1 Healthy 4",
		"2 Progressing 0", "2 Paused 1", "2 Progressing 2", "2 Paused 3", "2 Progressing 4", "2 Healthy 4"}
	if !slices.Equal(steps, want) || created != 2 {
		t.Errorf("the lines tell of %q and of %d ReplicaSets that were created, want %q and 2: %+v", steps, created, want, told)
	}
}

// sizesAsTold checks that what was told last of each ReplicaSet is how it is.
func (s *instance) sizesAsTold(t *testing.T, r *v1alpha1.Rollout, told []decided) {
	t.Helper()
	sizes := map[string]string{}
	for _, d := range told {
		for _, write := range d.Wrote {
			words := strings.Fields(strings.NewReplacer("created ", "", " with ", " to ").Replace(write))
			if words[0] == "ReplicaSet" {
				sizes[words[1]] = words[3]
			}
		}
	}
	sets, err := host.Host.AppsV1().ReplicaSets(r.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: r.Status.Selector})
	if err != nil {
		t.Fatal(err)
	}
	if len(sets.Items) != 2 || len(sizes) != 2 {
		t.Errorf("there are %d ReplicaSets, and %v is told of them", len(sets.Items), sizes)
	}
	for _, set := range sets.Items {
		if got, want := sizes[set.Name], fmt.Sprint(*set.Spec.Replicas); got != want {
			t.Errorf("ReplicaSet %s has the size %s, and %q is told", set.Name, want, got)
		}
	}
}
