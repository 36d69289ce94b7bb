// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package architecture holds the rooms of the source against the plan: who may import whom.
package architecture

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "sluice.dev/sluice/"

// rooms maps each folder to the folders of this module that it may import, itself aside. The longest folder
// that contains a package is its room.
var rooms = map[string][]string{
	"cmd/apiserver":                {"pkg/cmd/server"},
	"cmd/kubectl-sluice":           {"pkg/kubectl"},
	"pkg/apis/rollouts":            {},
	"pkg/apis/rollouts/validation": {"pkg/apis/rollouts", "pkg/engine"},
	"pkg/engine":                   {"pkg/apis/rollouts"},
	"pkg/registry":                 {"pkg/apis/rollouts", "pkg/apis/rollouts/validation", "pkg/engine"},
	"pkg/controller":               {"pkg/apis/rollouts", "pkg/engine", "pkg/generated"},
	"pkg/apiserver":                {"pkg/apis/rollouts", "pkg/apis/rollouts/validation", "pkg/registry", "pkg/controller", "pkg/engine", "pkg/apiserver/hosttemplate", "pkg/apiserver/ownerguard"},
	"pkg/apiserver/hosttemplate":   {"pkg/apis/rollouts", "pkg/engine"},
	"pkg/apiserver/ownerguard":     {"pkg/apis/rollouts", "pkg/engine"},
	"pkg/cmd/server":               {"pkg/apis/rollouts", "pkg/apiserver", "pkg/apiserver/hosttemplate", "pkg/apiserver/ownerguard", "pkg/cmd/server/member", "pkg/cmd/server/snapshot", "pkg/controller", "pkg/generated", "pkg/version"},
	"pkg/cmd/server/member":        {"pkg/apiserver/ownerguard"},
	"pkg/cmd/server/snapshot":      {"pkg/apis/rollouts", "pkg/apis/rollouts/validation", "pkg/apiserver", "pkg/apiserver/ownerguard", "pkg/engine"},
	// A migration asks the engine what it will do with the objects that it takes over, rather than to know it twice.
	"pkg/kubectl":        {"pkg/apis/rollouts", "pkg/engine", "pkg/generated", "pkg/kubectl/argo", "pkg/version"},
	"pkg/kubectl/argo":   {"pkg/apis/rollouts", "pkg/apis/rollouts/validation"},
	"pkg/generated":      {"pkg/apis/rollouts"},
	"pkg/version":        {},
	"hack/models-schema": {"pkg/generated"},
}

// foreign are modules that a room must not import: the engine knows no client, and nothing here needs the
// whole of Kubernetes.
var foreign = map[string][]string{
	"":           {"k8s.io/kubernetes"},
	"pkg/engine": {"k8s.io/client-go", "k8s.io/apiserver", "k8s.io/klog", "k8s.io/component-base", "os", "net", "math/rand", "sync"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports", "./pkg/...", "./cmd/...", "./hack/...")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// roomOf returns the longest room that contains a package; empty if none does.
func roomOf(path string) string {
	best := ""
	for room := range rooms {
		if within(path, room) && len(room) > len(best) {
			best = room
		}
	}
	return best
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func TestEveryPackageImportsOnlyWhatItsRoomMay(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		room := roomOf(path)
		if room == "" {
			t.Errorf("%s is in no room: add its folder to the table, with what it may import", path)
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module) && !mayImport(room, strings.TrimPrefix(imported, module)) {
				t.Errorf("%s imports %s, which its room, %s, may not: it may import %v", path, imported, room, rooms[room])
			}
			for scope, banned := range foreign {
				for _, b := range banned {
					// The simulator of the engine is a world for it, not a part of it.
					if (scope == "" || path == scope) && within(imported, b) {
						t.Errorf("%s imports %s", path, imported)
					}
				}
			}
		}
	}
}

func mayImport(room, imported string) bool {
	target := roomOf(imported)
	if target == room {
		return true
	}
	for _, allowed := range rooms[room] {
		if target == allowed {
			return true
		}
	}
	return false
}
