// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argo

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// prune takes out of a JSON value every field that a type has no place for, and returns their paths in the order of
// their names. What is left is not touched. A field that is null says nothing, and goes without a word.
func prune(value any, t reflect.Type, at *field.Path) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil // It reads what it is given in its own way, as a quantity does.
	}
	switch t.Kind() {
	case reflect.Struct:
		return pruneStruct(value, t, at)
	case reflect.Slice, reflect.Array:
		var lost []string
		if list, ok := value.([]any); ok {
			for i := range list {
				lost = append(lost, prune(list[i], t.Elem(), at.Index(i))...)
			}
		}
		return lost
	case reflect.Map:
		var lost []string
		if values, ok := value.(map[string]any); ok {
			for _, key := range sortedKeys(values) {
				lost = append(lost, prune(values[key], t.Elem(), at.Key(key))...)
			}
		}
		return lost
	}
	return nil
}

func pruneStruct(value any, t reflect.Type, at *field.Path) []string {
	values, ok := value.(map[string]any)
	if !ok {
		return nil // Of the wrong type: decoding says so.
	}
	served := fieldsOf(t)
	var lost []string
	for _, name := range sortedKeys(values) {
		next, known := served[name]
		switch path := child(at, name); {
		case known:
			lost = append(lost, prune(values[name], next, path)...)
		default:
			if values[name] != nil {
				lost = append(lost, path.String())
			}
			delete(values, name)
		}
	}
	return lost
}

// child is the path of a field, that of the object itself being nil.
func child(at *field.Path, name string) *field.Path {
	if at == nil {
		return field.NewPath(name)
	}
	return at.Child(name)
}

// fieldsOf are the types of the fields of a struct by their names in JSON, those of embedded structs among them.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			maps.Copy(fields, fieldsOf(embedded))
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

func sortedKeys(values map[string]any) []string { return slices.Sorted(maps.Keys(values)) }
