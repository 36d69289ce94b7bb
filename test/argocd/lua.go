// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	lua "github.com/yuin/gopher-lua"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// folder is where the scripts are in the source tree: the layout is that of Argo CD's own resource_customizations.
const folder = "artifacts/integrations/argocd/sluice.dev/Rollout"

// scriptTimeout is how long Argo CD lets a script run.
const scriptTimeout = time.Second

// Scripts are those that ship for Argo CD, in the source tree at Root.
type Scripts struct{ Root string }

// Health is the health of a resource, in Argo CD's words.
type Health struct {
	// Status is Healthy, Progressing, Suspended, Degraded, Missing or Unknown.
	Status string `json:"status"`
	// Message says why.
	Message string `json:"message,omitempty"`
}

// Parameter is what a person is asked for before an action.
type Parameter struct {
	// Name is the key of the value in the table actionParams.
	Name string `json:"name"`
}

// Action is what a person is offered for a resource.
type Action struct {
	// Name is that of its folder.
	Name string `json:"name"`
	// Disabled is true if it is shown, and cannot be chosen.
	Disabled bool `json:"disabled"`
	// IconClass is the icon that it is shown with.
	IconClass string `json:"iconClass"`
	// DisplayName is shown in place of the name, if it is set.
	DisplayName string `json:"displayName"`
	// Params are what it asks for.
	Params []Parameter `json:"params,omitempty"`
}

// Health runs health.lua on an object.
func (s Scripts) Health(object *unstructured.Unstructured) (Health, error) {
	var health Health
	err := s.run(&health, object, nil, "health.lua")
	return health, err
}

// Actions runs discovery.lua on an object. The keys are the names.
func (s Scripts) Actions(object *unstructured.Unstructured) (map[string]Action, error) {
	actions := map[string]Action{}
	if err := s.run(&actions, object, nil, "actions", "discovery.lua"); err != nil {
		return nil, err
	}
	for name, action := range actions {
		action.Name = name
		actions[name] = action
	}
	return actions, nil
}

// Act runs the script of an action on an object, and returns what it makes of it.
func (s Scripts) Act(object *unstructured.Unstructured, action string, parameters map[string]string) (*unstructured.Unstructured, error) {
	var content map[string]any
	if err := s.run(&content, object, parameters, "actions", action, "action.lua"); err != nil {
		return nil, err
	}
	clean(content, object.Object)
	return &unstructured.Unstructured{Object: content}, nil
}

// Patch is the merge patch that Argo CD sends for what an action makes of an object. What concerns the status goes to
// that subresource, by a patch of its own; nil if nothing does.
func Patch(object, acted *unstructured.Unstructured) (spec, status []byte, err error) {
	before, err := json.Marshal(object.Object)
	if err != nil {
		return nil, nil, err
	}
	after, err := json.Marshal(acted.Object)
	if err != nil {
		return nil, nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, nil, err
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(patch, &parts); err != nil {
		return nil, nil, err
	}
	if part, ok := parts["status"]; ok {
		if status, err = json.Marshal(map[string]json.RawMessage{"status": part}); err != nil {
			return nil, nil, err
		}
		delete(parts, "status")
	}
	spec, err = json.Marshal(parts)
	return spec, status, err
}

// run runs a script as Argo CD does, and reads what it returns. Only those parts of Lua's library are there that Argo
// CD lets scripts from its ConfigMap use.
func (s Scripts) run(into any, object *unstructured.Unstructured, parameters map[string]string, path ...string) error {
	file := filepath.Join(append([]string{s.Root, folder}, path...)...)
	script, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return err
		}
	}
	state.PreloadModule(lua.OsLibName, timeOnly)
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	state.SetContext(ctx)
	values := state.NewTable()
	for name, value := range parameters {
		values.RawSetString(name, lua.LString(value))
	}
	state.SetGlobal("actionParams", values)
	state.SetGlobal("obj", luajson.DecodeValue(state, plain(object.Object)))
	if err := state.DoString(string(script)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return fmt.Errorf("%s returns a %s, not a table", file, returned.Type())
	}
	encoded, err := luajson.Encode(returned)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return json.Unmarshal(encoded, into)
}

// timeOnly is the library "os" without what reaches beyond the script.
func timeOnly(state *lua.LState) int {
	lua.OpenOs(state)
	whole := state.CheckTable(-1)
	state.Pop(1)
	module := state.NewTable()
	for _, name := range []string{"time", "date"} {
		module.RawSetString(name, whole.RawGetString(name))
	}
	state.Push(module)
	return 1
}

// plain is a value with all its numbers as Lua has them.
func plain(value any) any {
	switch v := value.(type) {
	case int64:
		return float64(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = plain(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plain(item)
		}
		return out
	}
	return value
}

// clean undoes what Lua does to an empty object: it cannot tell it from an empty list.
func clean(after, before map[string]any) {
	for key, old := range before {
		was, isObject := old.(map[string]any)
		if !isObject {
			if items, isList := old.([]any); isList {
				cleanItems(after[key], items)
			}
			continue
		}
		switch now := after[key].(type) {
		case map[string]any:
			clean(now, was)
		case []any:
			if len(now) == 0 {
				after[key] = was
			}
		}
	}
}

func cleanItems(after any, before []any) {
	now, isList := after.([]any)
	for i := range before {
		if !isList || i >= len(now) {
			return
		}
		was, wasObject := before[i].(map[string]any)
		is, isObject := now[i].(map[string]any)
		if wasObject && isObject {
			clean(is, was)
		}
	}
}
