// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package architecture

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"sluice.dev/sluice/test/real"
)

// root is that of the source tree.
const root = "../.."

// code is what has brackets in a document that are no links.
var code = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// found is what the first group of a pattern matches in a text, each once, in order.
func found(pattern, text string) []string {
	var all []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Whoever is refused finds the cause in the reference, and the reference has none that does not exist.
func TestCausesAreDocumented(t *testing.T) {
	source := found(`(?m)^\tReason\w+ += "(\w+)"`, read(t, "pkg/engine/transitions.go"))
	refusals := read(t, "pkg/registry/rollouts/rollout/refusal.go")
	source = append(source, found(`(?m)^\t(?:reason|cause)\w+ .*= "(\w+)"`, refusals)...)
	source = append(source, found(`forbiddenTo\(.*"(\w+Needed)"`, read(t, "pkg/registry/rollouts/rollout/authority.go"))...)
	slices.Sort(source)
	documented := found("(?m)^\\| 40[39] \\| `(\\w+)` \\|", read(t, "docs/verbs.md"))
	if !slices.Equal(source, documented) {
		t.Errorf("the causes of refusals are %v, and docs/verbs.md has %v", source, documented)
	}
}

// So it is with what blocks a Rollout.
func TestBlockersAreDocumented(t *testing.T) {
	source := found(`BlockerCode = "(\w+)"`, read(t, "pkg/apis/rollouts/v1alpha1/types_plan.go"))
	_, section, _ := strings.Cut(read(t, "docs/verbs.md"), "\n## explain\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := found("(?m)^\\| `(\\w+)` \\|", section)
	if len(source) == 0 || !slices.Equal(source, documented) {
		t.Errorf("the blockers are %v, and docs/verbs.md has %v", source, documented)
	}
}

// The relative links of the documentation lead to a file, and to a heading of it.
func TestLinksOfTheDocumentation(t *testing.T) {
	for _, document := range documents(t) {
		for _, link := range found(`\]\(([^)\s]+)\)`, code.ReplaceAllString(read(t, document), "")) {
			if strings.Contains(link, "://") {
				continue
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", document, link)
			} else if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s links to %s, and there is no such heading", document, link)
			}
		}
	}
}

// documents are the Markdown files that are part of the source.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_")
		if entry.IsDir() && path != root && hidden {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			relative, err := filepath.Rel(root, path)
			all = append(all, relative)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(all, "README.md") || !slices.Contains(all, "docs/verbs.md") {
		t.Fatalf("the documents found are %v", all)
	}
	return all
}

// anchors are what links can call the headings of a document.
func anchors(document string) map[string]bool {
	all := map[string]bool{}
	for _, heading := range found(`(?m)^#+ (.*)$`, document) {
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, heading)] = true
	}
	return all
}

func TestAnchors(t *testing.T) {
	got := slices.Sorted(maps.Keys(anchors("# Verbs\ntext\n## What `explain` shows, and why\n## 准备\n")))
	if want := []string{"verbs", "what-explain-shows-and-why", "准备"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A document that says that a test shows something names one that there is.
func TestTestsThatDocumentsNameExist(t *testing.T) {
	var tests []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		tests = append(tests, found(`(?m)^func (Test\w+)\(t \*testing\.T\)`, string(content))...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range documents(t) {
		if path == "docs/conformance.md" {
			continue // It is generated, and names the tests of Argo Rollouts beside ours.
		}
		for _, name := range found("`(Test[A-Z0-9]\\w+)`", read(t, path)) {
			if named++; !slices.Contains(tests, name) {
				t.Errorf("%s names %s, which is no test", path, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("the documents name %d tests: the pattern is wrong", named)
	}
}

// The commands by which Sluice is installed, and taken away, are those that the tests on a real node play.
func TestDocumentsHaveTheCommandsThatAreTested(t *testing.T) {
	all := slices.Concat(real.Install, real.Uninstall, []string{real.UninstallInTheWrongOrder})
	if len(all) < 8 {
		t.Fatalf("the tests play %q", all)
	}
	for document, commands := range map[string][]string{"README.md": real.Install, "docs/install.md": all} {
		text, from := read(t, document), 0
		for _, command := range commands {
			// As the documents have them: in this order.
			at := strings.Index(text[from:], "kubectl "+command)
			if at < 0 {
				t.Errorf("%s does not have kubectl %s, which is what is tested, or not in its place", document, command)
				continue
			}
			from += at + 1
		}
	}
}
