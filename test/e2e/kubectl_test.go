// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// kubectl explain reads like documentation.
func TestExplain(t *testing.T) {
	s := together(t)
	for field, words := range map[string][]string{
		"":                                  {"Rollout runs a set of identical pods", "FIELDS:", "spec", "status"},
		".spec.strategy.canary":             {"steps", "maxSurge", "maxUnavailable", "Default 25%"},
		".spec.strategy.canary.steps":       {"setWeight", "pause"},
		".spec.template.spec.containers":    {"image"},
		".status.phase":                     {"ENUM", "Degraded", "Healthy"},
		".spec.strategy.canary.steps.pause": {"duration", "promote"},
	} {
		output := s.kubectl("explain", resource+field)
		s.contains(output, words...)
		if strings.Contains(output, "<no description>") && field != "" {
			t.Errorf("explain %s: no description:\n%s", field, output)
		}
	}
}

// kubectl get prints the columns of the API design.
func TestColumns(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("columns")
	lines := strings.Split(s.kubectl("get", resource), "\n")
	if got, want := strings.Fields(lines[0]), []string{"NAME", "STRATEGY", "STATUS", "STEP", "WEIGHT", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"}; !slices.Equal(got, want) {
		t.Errorf("the columns are %v instead of %v", got, want)
	}
	if got, want := strings.Fields(lines[1])[:8], []string{r.Name, "Canary", "Paused", "1/6", "50", "2/2", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("the row is %v instead of %v", got, want)
	}
	s.contains(s.kubectl("get", resource, "-o", "wide"), "CONTAINERS", "IMAGES", "SELECTOR", "MESSAGE", image("two"), "app=columns", "CanaryPauseStep")
	s.contains(s.kubectl("get", "all"), "rollout.sluice.dev/"+r.Name)
	s.contains(s.kubectl("get", "ro.v1alpha1.sluice.dev"), r.Name)
}

// kubectl wait, and with it every generic waiter, understands the condition Ready.
func TestWait(t *testing.T) {
	s := together(t)
	r := s.create(newRollout("waited", 2, weight(50), pause()))
	s.kubectl("wait", resource, r.Name, "--for=condition=Ready", "--timeout=60s")
	s.kubectl("wait", resource, r.Name, "--for=jsonpath={.status.phase}=Healthy", "--timeout=60s")
	s.setTag(r.Name, "two")
	s.kubectl("wait", resource, r.Name, "--for=condition=Paused", "--timeout=60s")
	if output := s.run("", "wait", resource, r.Name, "--for=condition=Ready", "--timeout=1s"); output.Code == 0 {
		t.Error("a paused update is Ready")
	}
}

// kubectl apply of the same manifest again, by whichever way, starts no revision, though the stored template
// has the defaults of the host.
func TestSameManifestAgain(t *testing.T) {
	s := together(t)
	plain := list(manifest(newRollout("same", 2, weight(50), pause())))
	s.must(s.run(plain, "apply", "-f", "-").Err())
	first := s.awaitPhase("same", v1alpha1.RolloutPhaseHealthy)
	for _, args := range [][]string{
		{"apply", "-f", "-"},
		{"replace", "-f", "-"},
		{"apply", "--server-side", "--force-conflicts", "-f", "-"},
		{"apply", "--server-side", "-f", "-"},
		{"replace", "-f", "-"},
	} {
		s.must(s.run(plain, args...).Err())
		if after := s.get("same"); after.Generation != first.Generation || after.Status.Revision != 1 || after.Status.CurrentPodHash != first.Status.CurrentPodHash {
			t.Errorf("kubectl %v: generation %d, revision %d, hash %s; before: %d, %d, %s", args,
				after.Generation, after.Status.Revision, after.Status.CurrentPodHash, first.Generation, first.Status.Revision, first.Status.CurrentPodHash)
		}
	}
	// What spells out a default of the host is the same template.
	spelt := newRollout("same", 2, weight(50), pause())
	spelt.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	spelt.Spec.Template.Spec.Containers[0].ImagePullPolicy = "IfNotPresent"
	s.must(s.run(list(manifest(spelt)), "replace", "-f", "-").Err())
	after := s.awaitPhase("same", v1alpha1.RolloutPhaseHealthy)
	if after.Status.Revision != 1 || len(s.sets(after)) != 1 {
		t.Errorf("defaults that are spelt out made revision %d and %d ReplicaSets", after.Status.Revision, len(s.sets(after)))
	}
}

// Server-side apply keeps who owns which field, and says so when two want the same.
func TestServerSideApply(t *testing.T) {
	s := together(t)
	mine := list(manifest(newRollout("applied", 2)))
	s.must(s.run(mine, "apply", "--server-side", "--field-manager=mine", "-f", "-").Err())
	r := s.awaitPhase("applied", v1alpha1.RolloutPhaseHealthy)
	theirs := newRollout("applied", 3)
	conflict := s.run(list(manifest(theirs)), "apply", "--server-side", "--field-manager=theirs", "-f", "-")
	if conflict.Code == 0 {
		t.Error("two managers own .spec.replicas")
	}
	s.contains(conflict.Stderr, "conflict", `"mine"`, ".spec.replicas")
	s.must(s.run(list(manifest(theirs)), "apply", "--server-side", "--field-manager=theirs", "--force-conflicts", "-f", "-").Err())
	s.awaitPhase("applied", v1alpha1.RolloutPhaseHealthy)
	s.pods(r, map[string]int{"one": 3})

	// A container is a list entry of its own: another manager can own an environment variable in it.
	sidecar := `{"apiVersion":"sluice.dev/v1alpha1","kind":"Rollout","metadata":{"name":"applied"},"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"b"}]}]}}}}`
	s.must(s.run(sidecar, "apply", "--server-side", "--field-manager=env", "-f", "-").Err())
	got := s.get("applied")
	if containers := got.Spec.Template.Spec.Containers; len(containers) != 1 || containers[0].Image != image("one") || len(containers[0].Env) != 1 {
		t.Errorf("the list of containers was not merged: %+v", containers)
	}
	for _, entry := range got.ManagedFields {
		if entry.Subresource == "" && strings.Contains(string(entry.FieldsV1.Raw), "f:status") {
			t.Errorf("manager %s owns status on the main resource: %s", entry.Manager, entry.FieldsV1.Raw)
		}
	}
}

// What a client sends as status on the main resource is ignored, and so is spec on the status resource.
func TestStatusIsItsOwn(t *testing.T) {
	s := together(t)
	r := newRollout("honest", 1)
	r.Status = v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutPhaseHealthy, StableRS: "forged", Revision: 7}
	created := s.create(r)
	if created.Status.StableRS == "forged" || created.Status.Revision != 1 || created.Status.Phase != v1alpha1.RolloutPhaseProgressing {
		t.Errorf("a client has written status: %+v", created.Status)
	}
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	_, err := s.patch(r.Name, `{"status":{"abort":true}}`)
	s.must(err)
	_, err = s.patch(r.Name, `{"spec":{"replicas":9}}`, "status")
	s.must(err)
	if after := s.get(r.Name); after.Status.Abort || *after.Spec.Replicas != 1 {
		t.Errorf("abort %v, replicas %d", after.Status.Abort, *after.Spec.Replicas)
	}
}

// kubectl scale and the scale subresource work, also in mid-update, where the proportion is kept.
func TestScale(t *testing.T) {
	s := together(t)
	r := s.pausedUpdate("scaled")
	s.kubectl("scale", resource, r.Name, "--replicas=6")
	s.awaitPods(r, map[string]int{"one": 3, "two": 3})
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.AvailableReplicas == 6, "6 available replicas")
	})
	s.atPause(r.Name, 1)
	scale, err := s.rollouts().GetScale(s.ctx(), r.Name, metav1.GetOptions{})
	s.must(err)
	if scale.Spec.Replicas != 6 || scale.Status.Replicas != 6 || scale.Status.Selector != "app=scaled" {
		t.Errorf("the scale is %+v %+v", scale.Spec, scale.Status)
	}
	if output := s.run("", "scale", resource, r.Name, "--current-replicas=2", "--replicas=4"); output.Code == 0 {
		t.Error("a precondition on the replicas is not held")
	}
	scale.Spec.Replicas = -1
	_, err = s.rollouts().UpdateScale(s.ctx(), r.Name, scale, metav1.UpdateOptions{})
	s.refused(err, 422, "spec.replicas")
	s.kubectl("scale", resource, r.Name, "--replicas=0")
	s.await(r.Name, func(r *v1alpha1.Rollout) string {
		return unless(r.Status.ObservedGeneration == r.Generation && r.Status.Replicas == 0, fmt.Sprintf("0 replicas, not %d", r.Status.Replicas))
	})
}

// status.phase selects, in lists and in watches.
func TestFieldSelector(t *testing.T) {
	s := together(t)
	s.deploy(newRollout("healthy", 1))
	r := s.pausedUpdate("paused")
	options := metav1.ListOptions{FieldSelector: "status.phase=Paused"}
	listed, err := s.rollouts().List(s.ctx(), options)
	s.must(err)
	if len(listed.Items) != 1 || listed.Items[0].Name != r.Name {
		t.Errorf("listed as Paused: %d, the first is %+v", len(listed.Items), listed.Items)
	}
	s.contains(s.kubectl("get", resource, "--field-selector=status.phase=Healthy", "-o", "name"), "rollout.sluice.dev/healthy")
	_, err = s.rollouts().List(s.ctx(), metav1.ListOptions{FieldSelector: "spec.replicas=1"})
	s.refused(err, 400, "spec.replicas")

	// Whoever stops being Paused leaves the watch, whoever begins to be enters it.
	paused := cluster.SourceOf[*v1alpha1.Rollout]("Paused", s.rollouts(), options)
	_, err = s.rollouts().Promote(s.ctx(), r.Name, &v1alpha1.Promotion{Full: true}, metav1.CreateOptions{})
	s.must(err)
	gone(s, paused)
	s.awaitPhase(r.Name, v1alpha1.RolloutPhaseHealthy)
	s.setTag(r.Name, "three")
	_, err = cluster.Await(s.ctx(), paused, func(found []*v1alpha1.Rollout) string { return unless(len(found) == 1, "one Paused Rollout") })
	s.must(err)
}
