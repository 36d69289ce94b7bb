// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package hosttemplate

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// dropped are the fields of a template that the host has left out of its answer, in the order of their paths: those of
// a newer version of Kubernetes, those behind a feature gate that is off there, and what its webhooks take away. The
// host does so without a word, and what is stored is its answer, so that whoever asked has to be told.
func dropped(asked, answered *corev1.PodTemplateSpec) ([]string, error) {
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(asked)
	if err != nil {
		return nil, err
	}
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(answered)
	if err != nil {
		return nil, err
	}
	return missing("spec.template", was, is), nil
}

// missing are the paths of what the one value has and the other lacks, the outermost of each. A value that is empty is
// nothing that could be lacking.
func missing(path string, asked, answered any) []string {
	switch asked := asked.(type) {
	case nil:
		return nil
	case map[string]any:
		other, isMap := answered.(map[string]any)
		if !isMap && len(asked) > 0 {
			return []string{path}
		}
		var all []string
		for _, key := range slices.Sorted(maps.Keys(asked)) {
			all = append(all, missing(path+"."+key, asked[key], other[key])...)
		}
		return all
	case []any:
		other, isList := answered.([]any)
		if !isList && len(asked) > 0 {
			return []string{path}
		}
		var all []string
		for i, item := range asked {
			all = append(all, missing(fmt.Sprintf("%s[%d]", path, i), item, counterpart(other, i, item))...)
		}
		return all
	}
	if answered == nil {
		return []string{path}
	}
	return nil
}

// counterpart is the item of the other list that an item is compared with: the one of the same name, since a webhook
// may have put others before it, or else the one at its place; nil if there is none.
func counterpart(other []any, at int, item any) any {
	if name := nameOf(item); name != nil {
		if found := slices.IndexFunc(other, func(o any) bool { return nameOf(o) == name }); found >= 0 {
			return other[found]
		}
		return nil
	}
	if at < len(other) {
		return other[at]
	}
	return nil
}

// nameOf is the name of an item of a list; nil if it has none.
func nameOf(item any) any {
	fields, _ := item.(map[string]any)
	return fields["name"]
}
