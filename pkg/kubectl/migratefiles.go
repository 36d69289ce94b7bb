// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/pkg/kubectl/argo"
)

// The formats that manifests are printed in.
const (
	formatYAML = "yaml"
	formatJSON = "json"
)

// migrateFiles prints manifests for Sluice.
func (p *plugin) migrateFiles(o *migrateOptions) error {
	objects, err := p.readObjects(o)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return errors.New("there are no manifests in it")
	}
	var out []*unstructured.Unstructured
	found, kept := 0, 0
	for _, object := range objects {
		if !argo.IsRollout(object) {
			p.noteOther(object)
			out = append(out, object)
			continue
		}
		found++
		if converted := p.convert(object, o.dropUnsupported); converted != nil {
			out = append(out, converted)
			kept++
		}
	}
	if err := p.printObjects(out, o.output); err != nil {
		return err
	}
	if kept < found {
		return fmt.Errorf("%d of %d Rollouts cannot be carried as they are, and were not printed", found-kept, found)
	}
	return nil
}

// readObjects are the objects in the manifests, in their order; those of lists one by one.
func (p *plugin) readObjects(o *migrateOptions) ([]*unstructured.Unstructured, error) {
	builder := resource.NewLocalBuilder().Unstructured()
	files := slices.DeleteFunc(slices.Clone(o.files), func(file string) bool { return file == standardInput })
	if len(files) < len(o.files) {
		builder.Stream(p.In, "standard input")
	}
	if len(files) > 0 || o.kustomize != "" {
		builder.FilenameParam(false, &resource.FilenameOptions{Filenames: files, Kustomize: o.kustomize, Recursive: o.recursive})
	}
	infos, err := builder.Flatten().Do().Infos()
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, info := range infos {
		object, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("%s: %T is no object", info.Source, info.Object)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// convert is the Rollout for Sluice; nil if there is none that does what Argo's does. What was lost is named.
func (p *plugin) convert(object *unstructured.Unstructured, dropUnsupported bool) *unstructured.Unstructured {
	subject := subjectOf(object)
	c := argo.Convert(object)
	for _, line := range lossLines(c) {
		fmt.Fprintf(p.ErrOut, "%s: %s\n", subject, line)
	}
	for _, problem := range c.Problems {
		fmt.Fprintf(p.ErrOut, "%s: %s\n", subject, problem)
	}
	switch {
	case len(c.Problems) > 0:
		return nil
	case c.LosesSteps() && !dropUnsupported:
		fmt.Fprintf(p.ErrOut, "%s: not printed: without these steps an update would do something else; --drop-unsupported leaves them out\n", subject)
		return nil
	}
	return c.Rollout
}

// lossLines say what is not carried, a line for each field.
func lossLines(c *argo.Conversion) []string {
	var lines []string
	for _, loss := range c.Losses {
		lines = append(lines, fmt.Sprintf("%s: not carried: %s", loss.Path, loss.Why))
	}
	return lines
}

// noteOther says of an object that is printed as it is what it still needs, if that is known.
func (p *plugin) noteOther(object *unstructured.Unstructured) {
	for _, ref := range []string{"scaleTargetRef", "targetRef"} {
		version, _, err := unstructured.NestedString(object.Object, "spec", ref, "apiVersion")
		if err == nil && strings.HasPrefix(version, argo.Group+"/") {
			fmt.Fprintf(p.ErrOut, "%s: spec.%s.apiVersion: is printed as it is, and names the Rollout of Argo's: set it to sluice.dev/v1alpha1\n", subjectOf(object), ref)
		}
	}
	if group := object.GroupVersionKind().Group; group == argo.Group {
		fmt.Fprintf(p.ErrOut, "%s: is printed as it is: Sluice does not serve this kind\n", subjectOf(object))
	}
}

// subjectOf names an object as kubectl does.
func subjectOf(object *unstructured.Unstructured) string {
	name := object.GetName()
	if name == "" {
		name = object.GetGenerateName() + "*"
	}
	kind := strings.ToLower(object.GetKind())
	if group := object.GroupVersionKind().Group; group != "" {
		kind += "." + group
	}
	return kind + "/" + name
}

// printObjects prints manifests: in YAML one document each, in JSON one object or a list of them.
func (p *plugin) printObjects(objects []*unstructured.Unstructured, format string) error {
	if len(objects) == 0 {
		return nil
	}
	if format == formatJSON {
		var all any = objects[0].Object
		if len(objects) > 1 {
			items := make([]any, 0, len(objects))
			for _, object := range objects {
				items = append(items, object.Object)
			}
			all = map[string]any{"apiVersion": "v1", "kind": "List", "items": items}
		}
		encoded, err := json.MarshalIndent(all, "", "    ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.Out, "%s\n", encoded)
		return err
	}
	for i, object := range objects {
		encoded, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(p.Out, "---")
		}
		if _, err := p.Out.Write(encoded); err != nil {
			return err
		}
	}
	return nil
}
