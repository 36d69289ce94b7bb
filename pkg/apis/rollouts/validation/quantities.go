// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// MalformedQuantities finds the quantities in a template that cannot be read, in the JSON or YAML of a Rollout
// or of a patch to one, of whatever kind. Decoding stops at such a value without telling its place; this
// tells it.
func MalformedQuantities(data []byte) field.ErrorList {
	var operations []patchOperation
	if err := yaml.Unmarshal(data, &operations); err == nil {
		return quantitiesInOperations(operations)
	}
	var rollout struct {
		Spec struct {
			Template struct {
				Spec any `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &rollout); err != nil {
		return nil
	}
	return quantitiesIn(rollout.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
}

// patchOperation is one of a JSON patch, RFC 6902.
type patchOperation struct {
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func quantitiesInOperations(operations []patchOperation) (errs field.ErrorList) {
	for _, operation := range operations {
		inside, ok := strings.CutPrefix(operation.Path, "/spec/template/spec/")
		if !ok {
			continue
		}
		value, keys := operation.Value, strings.Split(inside, "/")
		for _, key := range slices.Backward(keys) {
			value = map[string]any{key: value}
		}
		errs = append(errs, quantitiesIn(value, field.NewPath("spec", "template", "spec"))...)
	}
	return errs
}

func quantitiesIn(value any, path *field.Path) (errs field.ErrorList) {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			errs = append(errs, quantitiesIn(item, path.Index(i))...)
		}
	case map[string]any:
		for _, key := range sortedKeys(value) {
			at := path.Child(key)
			switch key {
			case "limits", "requests", "overhead":
				resources, _ := value[key].(map[string]any)
				for _, name := range sortedKeys(resources) {
					errs = append(errs, checkQuantity(resources[name], at.Child(name))...)
				}
			case "sizeLimit", "divisor":
				errs = append(errs, checkQuantity(value[key], at)...)
			default:
				errs = append(errs, quantitiesIn(value[key], at)...)
			}
		}
	}
	return errs
}

func checkQuantity(value any, path *field.Path) field.ErrorList {
	text := fmt.Sprint(value)
	if _, err := resource.ParseQuantity(text); value == nil || err == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(path, text, `must be a quantity, as "500m", "1.5" or "64Mi"`)}
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
