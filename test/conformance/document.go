// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// documentPath is where the document is, in the source tree.
const documentPath = "docs/conformance.md"

// tests are the folders of the tests that run on a real control plane.
var tests = []string{"test/e2e", "test/real"}

// named is a line of a comment that names a behaviour.
var named = regexp.MustCompile(`(?m)^Reference: (\d\.\d) (\w+)\.?$`)

// place is where a test is.
type place struct {
	// name is that of the function.
	name string
	// file is its file, in the source tree.
	file string
}

// shownBy are the tests of the source tree in a folder, by the behaviours that they show.
func shownBy(root string) (map[string][]place, error) {
	shown := map[string][]place{}
	for _, folder := range tests {
		files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, declared := range parsed.Decls {
				f, is := declared.(*ast.FuncDecl)
				if !is || f.Doc == nil || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
					continue
				}
				for _, match := range named.FindAllStringSubmatch(f.Doc.Text(), -1) {
					id := match[1] + " " + match[2]
					shown[id] = append(shown[id], place{name: f.Name.Name, file: folder + "/" + filepath.Base(file)})
				}
			}
		}
	}
	return shown, nil
}

// document is the text. The error names behaviours that are neither shown nor explained, or both, and tests that
// name one that does not exist.
func document(shown map[string][]place) (string, error) {
	var problems []error
	var b strings.Builder
	b.WriteString(preface)
	left := maps.Clone(shown)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| behaviour | shown by |\n|---|---|\n", s.title)
		for _, behaviour := range s.behaviours {
			id := s.number + " " + behaviour.name
			places := shown[id]
			delete(left, id)
			if (len(places) == 0) == (behaviour.differs == "") {
				problems = append(problems, fmt.Errorf("%q must be shown by a test of %s, or explained in behaviours.go, and not both", id, strings.Join(tests, ", ")))
			}
			fmt.Fprintf(&b, "| `%s`: %s | %s |\n", behaviour.name, behaviour.what, evidence(places, behaviour.differs))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(left)) {
		problems = append(problems, fmt.Errorf("%s shows %q, which is not in behaviours.go", left[id][0].name, id))
	}
	return b.String(), errors.Join(problems...)
}

func evidence(places []place, differs string) string {
	if differs != "" {
		return "*" + differs + "*"
	}
	links := make([]string, len(places))
	for i, p := range places {
		links[i] = fmt.Sprintf("[`%s`](../%s)", p.name, p.file)
	}
	return strings.Join(links, ", ")
}

const preface = `<!-- Written by "make conformance" from the comments of the tests. Do not edit. -->

# Conformance

Users of Argo Rollouts move to Sluice by changing ` + "`apiVersion`" + `, and rely on what its end-to-end tests show. This is each of
these behaviours, under the name of the test that shows it there, with the test that shows it here: on a real
kube-apiserver, controller manager and etcd, by ` + "`make test-e2e`" + ` and ` + "`make test-real`" + `. Where it is otherwise here the table
says why; more of that is in [Coming from Argo Rollouts](coming-from-argo.md).

What needs a traffic router or analysis is not served yet, and is refused by name.
`
