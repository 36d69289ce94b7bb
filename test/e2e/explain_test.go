// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// clockSkew is how far times that are told in whole seconds may be off.
const clockSkew = 2 * time.Second

// blockedBy is something that keeps a Rollout from going on, how it comes about, and how it ends.
type blockedBy struct {
	what string
	code v1alpha1.BlockerCode
	// codes are those of all blockers, if there are more.
	codes []v1alpha1.BlockerCode
	// reach brings the Rollout of that name there.
	reach func(s *scenario, name string)
	// words are in the message.
	words []string
	// next is the verb of the call that is advised; empty if there is nothing to call.
	next string
	// advised is the call that is advised, with the name and the namespace to be put in, if it is no verb. It is not
	// made if it opens an editor.
	advised string
	// remedy is what a person does where there is no such call, or before it; nil if nothing.
	remedy func(s *scenario, name string)
	// callers are who makes the call; nil for the administrator.
	callers []string
	// moved waits until the Rollout has gone on.
	moved func(s *scenario, name string)
}

// explainedElsewhere are the codes for which the control plane must not be calm, with the test of them.
var explainedElsewhere = map[string]string{
	string(v1alpha1.BlockerControllerStopped): "TestDisruption/explain_without_a_controller",
	string(v1alpha1.BlockerNotObserved):       "TestDisruption/explain_without_a_controller",
}

// Whatever keeps a Rollout from going on is explained, and the call that is advised moves it on.
func TestExplainBlockers(t *testing.T) {
	together(t)
	covered := map[string]bool{}
	for code := range explainedElsewhere {
		covered[code] = true
	}
	for _, b := range slices.Concat(peopleWaitedFor, podsWaitedFor, hostWaitedFor, objectsWaitedFor) {
		covered[string(b.code)] = true
		t.Run(b.what, func(t *testing.T) {
			t.Parallel()
			b.check(newScenario(t, local))
		})
	}
	for _, code := range blockerCodes(t) {
		if !covered[code] {
			t.Errorf("no case produces the code %s", code)
		}
	}
}

// blockerCodes are the codes that the API has, as its source says.
func blockerCodes(t *testing.T) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(local.Repository(), "pkg", "apis", "rollouts", "v1alpha1", "types_plan.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "BlockerCode" {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
		return true
	})
	if len(codes) < 13 {
		t.Fatalf("found only the codes %v", codes)
	}
	return codes
}

func (b *blockedBy) check(s *scenario) {
	const name = "stuck"
	began := time.Now()
	b.reach(s, name)
	s.blocked(name, b.code, b.words...)
	if len(b.codes) == 0 {
		b.codes = []v1alpha1.BlockerCode{b.code}
	}
	s.blockedInOrder(name, b.codes)
	found := s.noted(name, b.code, b.words...)
	if found.Since.Time.Before(began.Add(-clockSkew)) || found.Since.Time.After(time.Now().Add(clockSkew)) {
		s.Errorf("%s since %v, though it was brought about after %s", b.code, found.Since, began)
	}
	s.printed(name, found)
	want := ""
	if b.next != "" {
		want = "kubectl sluice " + b.next + " " + name + " -n " + s.namespace
	}
	if b.advised != "" {
		want = fmt.Sprintf(b.advised, name, s.namespace)
	}
	if found.Next != want {
		s.Fatalf("next is %q instead of %q", found.Next, want)
	}
	if b.remedy != nil {
		b.remedy(s, name)
	}
	if found.Next != "" && !strings.HasPrefix(found.Next, "kubectl edit ") {
		s.callAdvised(found.Next, b.callers)
	}
	b.moved(s, name)
}

// blocked waits until a blocker with this code and these words is explained.
func (s *scenario) blocked(name string, code v1alpha1.BlockerCode, words ...string) v1alpha1.Blocker {
	s.Helper()
	return s.explained(name, code, words, func(v1alpha1.Blocker) bool { return true })
}

// noted waits until it is explained, and known since when: not before the controller has noted in the status what anybody
// sees of the host already.
func (s *scenario) noted(name string, code v1alpha1.BlockerCode, words ...string) v1alpha1.Blocker {
	s.Helper()
	return s.explained(name, code, words, func(b v1alpha1.Blocker) bool { return b.Since != nil })
}

// explained waits until a blocker with this code and these words is, and is as wanted.
func (s *scenario) explained(name string, code v1alpha1.BlockerCode, words []string, wanted func(v1alpha1.Blocker) bool) (found v1alpha1.Blocker) {
	s.Helper()
	var last []v1alpha1.Blocker
	defer func() {
		if s.Failed() {
			s.Logf("explained was last: %+v", last)
		}
	}()
	s.eventually(fmt.Sprintf("%s with %q", code, words), func(ctx context.Context) bool {
		explanation, err := s.rollouts().Explain(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		last = explanation.Status.Blockers
		i := slices.IndexFunc(last, func(b v1alpha1.Blocker) bool {
			return b.Code == code && wanted(b) && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(b.Message, word) })
		})
		if i < 0 {
			return false
		}
		found = last[i]
		return true
	})
	return found
}

// blockedInOrder waits until these are all blockers, what to look at first in front.
func (s *scenario) blockedInOrder(name string, codes []v1alpha1.BlockerCode) {
	s.Helper()
	var last []v1alpha1.BlockerCode
	defer func() {
		if s.Failed() {
			s.Logf("explained was last: %v", last)
		}
	}()
	s.eventually(fmt.Sprintf("the blockers %v", codes), func(ctx context.Context) bool {
		explanation, err := s.rollouts().Explain(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		last = nil
		for _, b := range explanation.Status.Blockers {
			last = append(last, b.Code)
		}
		return slices.Equal(last, codes)
	})
}

// printed holds what stock kubectl and the plugin print of a blocker against it.
func (s *scenario) printed(name string, b v1alpha1.Blocker) {
	s.Helper()
	// How much time is left changes.
	message, _, _ := strings.Cut(b.Message, ", of which")
	table := s.kubectl("get", resource, name, "--subresource=explain")
	s.contains(table, "CODE", "SINCE", "MESSAGE", "NEXT", string(b.Code), message, b.Next)
	plugin := s.kubectl("sluice", "explain", name)
	s.contains(plugin, string(b.Code)+", since "+b.Since.UTC().Format(time.RFC3339), message)
	if b.Next != "" {
		s.contains(plugin, "next: "+b.Next)
	}
	for _, pod := range b.Pods {
		s.contains(plugin, pod)
	}
	s.Logf("what a person sees:\n%s", plugin)
}

// callAdvised makes the call as it was advised, in the name of each of the users, who are new.
func (s *scenario) callAdvised(next string, users []string) {
	s.Helper()
	args := strings.Fields(next)[1:]
	if users == nil {
		output, err := s.Kubectl(s.ctx(), "", args...)
		s.must(err)
		s.must(output.Err())
		return
	}
	for _, user := range users {
		// The host learns of the rights of a user by a watch.
		s.eventually("the rights of "+user, func(ctx context.Context) bool {
			output, err := s.Kubectl(ctx, "", append(slices.Clone(args), "--as="+user)...)
			s.must(err)
			if output.Code != 0 && !strings.Contains(output.Stderr, "Forbidden") {
				s.Fatal(output.Err())
			}
			return output.Code == 0
		})
	}
}

// What nothing blocks is explained as such, however it is printed.
func TestExplainNothing(t *testing.T) {
	s := together(t)
	r := s.deploy(newRollout("free", 1))
	explanation, err := s.rollouts().Explain(s.ctx(), r.Name, metav1.GetOptions{})
	s.must(err)
	if len(explanation.Status.Blockers) != 0 || explanation.Status.Phase != v1alpha1.RolloutPhaseHealthy || explanation.UID != r.UID {
		t.Errorf("%+v", explanation)
	}
	s.contains(s.kubectl("get", resource, r.Name, "--subresource=explain"), "nothing blocks it: it is Healthy")
	s.contains(s.kubectl("sluice", "explain", r.Name), "Healthy", "Nothing blocks it")
	output := s.run("", "sluice", "explain", "nobody")
	if output.Code != 1 {
		t.Errorf("to explain what does not exist ends with %d", output.Code)
	}
	s.contains(output.Stderr, "NotFound", "nobody")
}
