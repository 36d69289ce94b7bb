// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// definition is a metric as the source defines it.
type definition struct{ name, kind, labels, help, stability string }

// kinds are the types of the options that metrics are made with.
var kinds = map[string]string{"CounterOpts": "counter", "GaugeOpts": "gauge", "HistogramOpts": "histogram"}

// definitions are those of all packages in pkg, by name.
func definitions(root string) ([]definition, error) {
	var all []definition
	err := filepath.WalkDir(filepath.Join(root, "pkg"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() != "metrics.go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		found, err := definedIn(file)
		all = append(all, found...)
		return err
	})
	slices.SortFunc(all, func(a, b definition) int { return cmp.Compare(a.name, b.name) })
	return all, err
}

// definedIn are the definitions of a file. An error names one that cannot be read.
func definedIn(file *ast.File) (all []definition, err error) {
	constants := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				constants[spec.Names[0].Name], _ = strconv.Unquote(literal.Value)
			}
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		pointer, ok := call.Args[0].(*ast.UnaryExpr)
		if !ok {
			return true
		}
		options, ok := pointer.X.(*ast.CompositeLit)
		if !ok {
			return true
		}
		selector, ok := options.Type.(*ast.SelectorExpr)
		if !ok || kinds[selector.Sel.Name] == "" {
			return true
		}
		d := definition{kind: kinds[selector.Sel.Name]}
		if problem := d.read(options, call.Args[1:], constants); problem != nil && err == nil {
			err = problem
		}
		all = append(all, d)
		return true
	})
	return all, err
}

// read takes the fields of the options, and the labels that come after them.
func (d *definition) read(options *ast.CompositeLit, rest []ast.Expr, constants map[string]string) error {
	fields := map[string]string{}
	for _, element := range options.Elts {
		pair := element.(*ast.KeyValueExpr)
		key := pair.Key.(*ast.Ident).Name
		if stability, ok := pair.Value.(*ast.SelectorExpr); ok && key == "StabilityLevel" {
			fields[key] = stability.Sel.Name
		} else if key != "Buckets" {
			text, err := evaluate(pair.Value, constants)
			if err != nil {
				return err
			}
			fields[key] = text
		}
	}
	d.name, d.help, d.stability = fields["Subsystem"]+"_"+fields["Name"], fields["Help"], fields["StabilityLevel"]
	var labels []string
	for _, argument := range rest {
		list, ok := argument.(*ast.CompositeLit)
		if !ok {
			continue
		}
		for _, label := range list.Elts {
			text, err := evaluate(label, constants)
			if err != nil {
				return err
			}
			labels = append(labels, "`"+text+"`")
		}
	}
	d.labels = strings.Join(labels, ", ")
	if d.help == "" || d.stability == "" || !strings.HasPrefix(d.name, "sluice_") {
		return fmt.Errorf("the metric %q needs the prefix sluice_, a help and a stability level", d.name)
	}
	return nil
}

// evaluate is the string that an expression stands for.
func evaluate(expression ast.Expr, constants map[string]string) (string, error) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.Ident:
		if value, ok := constants[e.Name]; ok {
			return value, nil
		}
	case *ast.BinaryExpr:
		left, err := evaluate(e.X, constants)
		if err != nil {
			return "", err
		}
		right, err := evaluate(e.Y, constants)
		return left + right, err
	}
	return "", fmt.Errorf("the definition of a metric has a %T where a string is needed that can be read from the source", expression)
}
