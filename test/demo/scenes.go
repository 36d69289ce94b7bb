// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

// scene is one part of the guide: commands, and the stages that must follow, one after the other.
type scene struct {
	title    string
	commands []line
	stages   []stage
	// sets is how many ReplicaSets there are at the end: the stable one, the current one, and of the others
	// no more than the two that the example's revisionHistoryLimit keeps.
	sets int
}

// line is one command line of kubectl, with what is piped into it.
type line struct {
	args  []string
	stdin string
}

// stage is where the Rollout must get to, and that in words.
type stage struct {
	cluster.Stage
	says string
}

func kubectl(args ...string) line { return line{args: args} }

func setImage(tag string) line {
	return kubectl("sluice", "set", "image", name, container+"="+repository+":"+tag)
}

// patchImage is the same with stock kubectl alone.
func patchImage(tag string) line {
	return kubectl("patch", resource, name, "--type=json", "-p",
		`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"`+repository+":"+tag+`"}]`)
}

func patchVerb(verb, body string) line {
	return kubectl("patch", resource, name, "--subresource="+verb, "--type=merge", "-p", body)
}

// postVerb is the shortest way that needs neither plugin nor patch.
func postVerb(verb string) line {
	return line{args: []string{"create", "--raw", "/apis/sluice.dev/v1alpha1/namespaces/" + namespace + "/rollouts/" + name + "/" + verb, "-f", "-"}, stdin: "{}"}
}

func waitFor(condition string) line {
	return kubectl("wait", resource+"/"+name, "--for=condition="+condition, "--timeout=60s")
}

func healthy(tag string) stage {
	return stage{cluster.Stage{Phase: v1alpha1.RolloutPhaseHealthy, Step: steps, Pods: map[string]int{tag: replicas}},
		"Healthy: 5 pods of " + tag}
}

// paused is a pause, of which the steps 1, 3, 5 and 7 follow the weights 20, 40, 60 and 80.
func paused(step int32, fresh, old, says string) stage {
	moved := (int(step) + 1) / 2
	pods := map[string]int{fresh: moved, old: replicas - moved}
	maps.DeleteFunc(pods, func(_ string, count int) bool { return count == 0 })
	return stage{cluster.Stage{Phase: v1alpha1.RolloutPhasePaused, Step: step, Weight: int32(20 * moved), Pods: pods}, says}
}

func aborted(tag string) stage {
	return stage{cluster.Stage{Phase: v1alpha1.RolloutPhaseDegraded, Step: 0, Pods: map[string]int{tag: replicas}},
		"Degraded: 5 pods of " + tag + ", none of the version that was aborted"}
}

// withPlugin is the guide as the plugin plays it.
func withPlugin(manifest string) []scene {
	return []scene{
		{"1. Deploy: the first version goes straight to all its pods",
			[]line{kubectl("apply", "-f", manifest)},
			[]stage{healthy("blue")}, 1},
		{"2. A new image: the update stops at its first pause",
			[]line{setImage("yellow")},
			[]stage{paused(1, "yellow", "blue", "Paused at step 1/8: 1 pod of yellow, 4 of blue, weight 20")}, 2},
		{"3. Promote: it takes its remaining steps by itself",
			[]line{kubectl("sluice", "promote", name)},
			[]stage{
				paused(3, "yellow", "blue", "2 pods of yellow, 3 of blue, weight 40"),
				paused(5, "yellow", "blue", "3 pods of yellow, 2 of blue, weight 60"),
				paused(7, "yellow", "blue", "4 pods of yellow, 1 of blue, weight 80"),
				healthy("yellow"),
			}, 2},
		{"4. Another image: paused again",
			[]line{setImage("red")},
			[]stage{paused(1, "red", "yellow", "Paused at step 1/8: 1 pod of red, 4 of yellow, weight 20")}, 3},
		{"5. Abort: back to the stable version at once",
			[]line{kubectl("sluice", "abort", name)},
			[]stage{aborted("yellow")}, 3},
		{"6. The stable image again: Healthy without a step and without a new ReplicaSet",
			[]line{setImage("yellow")},
			[]stage{healthy("yellow")}, 3},
		{"7. Promote in full: straight to the end",
			[]line{setImage("red"), waitFor("Paused"), kubectl("sluice", "promote", name, "--full")},
			[]stage{healthy("red")}, 3},
	}
}

// withStockKubectl is every manual step once more, with nothing but kubectl.
func withStockKubectl() []scene {
	return []scene{
		{"8. With stock kubectl alone: a new image, by a patch",
			[]line{patchImage("green"), waitFor("Paused")},
			[]stage{paused(1, "green", "red", "Paused at step 1/8: 1 pod of green, 4 of red")}, 4},
		{"9. Promote, by a patch of the subresource",
			[]line{patchVerb("promote", "{}")},
			[]stage{paused(3, "green", "red", "2 pods of green, 3 of red")}, 4},
		{"10. Abort, by a POST",
			[]line{postVerb("abort")},
			[]stage{aborted("red")}, 4},
		{"11. Retry, by a POST: the update starts again at its first step",
			[]line{postVerb("retry"), waitFor("Paused")},
			[]stage{paused(1, "green", "red", "Paused at step 1/8 again")}, 4},
		{"12. Promote in full, by a patch, and wait until it is Ready",
			[]line{patchVerb("promote", `{"full":true}`), waitFor("Ready"), kubectl("get", resource, name)},
			[]stage{healthy("green")}, 3},
	}
}
