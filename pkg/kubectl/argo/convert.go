// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argo

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// Group is the API group of Argo.
const Group = "argoproj.io"

// Resource are the Rollouts of Argo.
var Resource = schema.GroupVersionResource{Group: Group, Version: "v1alpha1", Resource: "rollouts"}

// rolloutType is what can be carried.
var rolloutType = reflect.TypeFor[v1alpha1.Rollout]()

// Loss is a field that was not carried.
type Loss struct {
	// Path names it, as spec.strategy.canary.steps[1].analysis.
	Path string
	// Why says why not.
	Why string
	// Step is true if a step of an update is lost with it.
	Step bool
}

// Conversion is what became of a Rollout of Argo's.
type Conversion struct {
	// Rollout is the one for Sluice. Every field in it is as it was written.
	Rollout *unstructured.Unstructured
	// Losses are the fields that are not in it.
	Losses []Loss
	// Problems are the values in it that Sluice refuses, each with its path. The inside of spec.template is for the
	// cluster to judge.
	Problems []string
}

// LosesSteps is true if the Rollout has fewer steps, or steps that do less, than Argo's has.
func (c *Conversion) LosesSteps() bool {
	for _, loss := range c.Losses {
		if loss.Step {
			return true
		}
	}
	return false
}

// IsRollout says whether an object is a Rollout of Argo's.
func IsRollout(object *unstructured.Unstructured) bool {
	return object.GetAPIVersion() == Resource.GroupVersion().String() && object.GetKind() == "Rollout"
}

// Convert turns a Rollout of Argo's into one for Sluice. It is not modified.
func Convert(object *unstructured.Unstructured) *Conversion {
	out := object.DeepCopy()
	out.SetAPIVersion(v1alpha1.SchemeGroupVersion.String())
	c := &Conversion{Rollout: out, Losses: stripMetadata(out)}
	delete(out.Object, "status")
	for _, path := range prune(out.Object, rolloutType, nil) {
		c.Losses = append(c.Losses, Loss{Path: path, Why: why(path), Step: strings.HasPrefix(path, stepsPath+"[")})
	}
	dropEmptied(out.Object, c.Losses)
	c.Problems = problems(out)
	return c
}

// stepsPath is where the steps of an update are.
const stepsPath = "spec.strategy.canary.steps"

// serverFields are the fields of metadata that a server writes.
var serverFields = []string{
	"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds",
}

// stripMetadata takes out of the metadata what speaks of the object as Argo and its cluster knew it, and names what
// people wrote there for a controller that will not look.
func stripMetadata(object *unstructured.Unstructured) []Loss {
	metadata, ok := object.Object["metadata"].(map[string]any)
	if !ok {
		return nil
	}
	for _, name := range serverFields {
		delete(metadata, name)
	}
	var losses []Loss
	for _, kind := range []string{"labels", "annotations"} {
		values, ok := metadata[kind].(map[string]any)
		if !ok {
			continue
		}
		before := len(values)
		for _, key := range sortedKeys(values) {
			switch prefix, _, _ := strings.Cut(key, "/"); {
			case key == "kubectl.kubernetes.io/last-applied-configuration", key == "rollouts-pod-template-hash",
				prefix == "rollout.argoproj.io", prefix == "argo-rollouts.argoproj.io":
				delete(values, key)
			case prefix == "notifications.argoproj.io":
				delete(values, key)
				losses = append(losses, Loss{Path: field.NewPath("metadata", kind).Key(key).String(), Why: "notifications are not served: Sluice makes Events"})
			}
		}
		if len(values) == 0 && before > 0 {
			delete(metadata, kind)
		}
	}
	return losses
}

// dropEmptied takes out the steps that have nothing left in them but what was lost: an empty step is invalid.
func dropEmptied(object map[string]any, losses []Loss) {
	steps, ok, err := unstructured.NestedSlice(object, "spec", "strategy", "canary", "steps")
	if !ok || err != nil {
		return
	}
	path := field.NewPath("spec", "strategy", "canary", "steps")
	kept := make([]any, 0, len(steps))
	for i, step := range steps {
		fields, isMap := step.(map[string]any)
		if isMap && len(fields) == 0 && losesPart(losses, path.Index(i).String()) {
			continue
		}
		kept = append(kept, step)
	}
	if len(kept) == len(steps) {
		return
	}
	// The maps on the way are there: the steps were found in them.
	_ = unstructured.SetNestedSlice(object, kept, "spec", "strategy", "canary", "steps")
}

func losesPart(losses []Loss, of string) bool {
	for _, loss := range losses {
		if strings.HasPrefix(loss.Path, of+".") {
			return true
		}
	}
	return false
}
