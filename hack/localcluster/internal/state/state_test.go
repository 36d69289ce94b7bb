// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/process"
)

func started(t *testing.T) (*State, component.Layout) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	layout := component.Layout{Dir: dir, BinDir: "/bin", Mode: component.EmbeddedEtcd, Ports: map[string]int{component.KubeAPIServer: 20001}}
	return New(layout, time.Unix(1000, 0)), layout
}

func alive(t *testing.T) process.Identity {
	t.Helper()
	child, err := process.Command{Path: "/bin/sleep", Args: []string{"60"}, Dir: "/", Log: os.DevNull}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Signal(os.Kill) })
	return child.Identity
}

func TestCondition(t *testing.T) {
	running := alive(t)
	stale := process.Identity{PID: running.PID, Birth: "an earlier boot"}
	for _, row := range []struct {
		name    string
		wanted  bool
		process process.Identity
		want    Condition
	}{
		{"never started", false, process.Identity{}, Stopped},
		{"started and there", true, running, Running},
		{"started and gone", true, process.Identity{PID: 1 << 30, Birth: "x"}, Crashed},
		{"its id belongs to another process now", true, stale, Crashed},
		{"stopped on purpose", false, stale, Stopped},
		{"told to stop, still there", false, running, Running},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := Component{Wanted: row.wanted, Process: row.process}
			if got := c.Condition(); got != row.want {
				t.Errorf("condition is %s; want %s", got, row.want)
			}
		})
	}
}

func TestSaveAndLoad(t *testing.T) {
	s, layout := started(t)
	if loaded, err := Load(layout.Dir); err != nil || loaded != nil {
		t.Fatalf("before the first save: %v, %v", loaded, err)
	}
	c, err := s.Find(component.Sluice)
	if err != nil {
		t.Fatal(err)
	}
	c.Process, c.Wanted, c.ExtraArgs = alive(t), true, []string{"--accept-data-loss"}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(layout.Dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := loaded.Find(component.Sluice)
	if err != nil {
		t.Fatal(err)
	}
	if again.Condition() != Running || again.ExtraArgs[0] != "--accept-data-loss" || !loaded.AnyAlive() || loaded.Server != "https://127.0.0.1:20001" {
		t.Errorf("loaded %+v of %+v", again, loaded)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, row := range []struct{ name, content, message string }{
		{"garbage", "{", "damaged"},
		{"another format", `{"version": 99}`, "version 99"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, _ := started(t)
			if err := os.WriteFile(Path(s.Dir), []byte(row.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(s.Dir); err == nil || !strings.Contains(err.Error(), row.message) {
				t.Errorf("error is %v; want one about %q", err, row.message)
			}
		})
	}
}

func TestDefineMovesPortsAndKeepsProcesses(t *testing.T) {
	s, layout := started(t)
	c, err := s.Find(component.KubeAPIServer)
	if err != nil {
		t.Fatal(err)
	}
	c.Process = process.Identity{PID: 7, Birth: "x"}
	layout.Ports = map[string]int{component.KubeAPIServer: 20002}
	s.Define(layout)
	moved, err := s.Find(component.KubeAPIServer)
	if err != nil {
		t.Fatal(err)
	}
	if moved.URL != "https://127.0.0.1:20002" || s.Server != moved.URL || moved.Process.PID != 7 {
		t.Errorf("after the move: %+v at %s", moved, s.Server)
	}
}

func TestFindNamesWhatThereIs(t *testing.T) {
	s, _ := started(t)
	if _, err := s.Find("etc"); err == nil || !strings.Contains(err.Error(), component.Etcd) {
		t.Errorf("error is %v; want one that names the components", err)
	}
}

func TestPath(t *testing.T) {
	for _, row := range []struct{ name, kubectl, want string }{
		{"everything in one folder", "/source/_local/bin/kubectl", "/source/_local/bin"},
		{"kubectl of an older host comes first", "/source/_local/bin/hosts/1.34/kubectl", "/source/_local/bin/hosts/1.34:/source/_local/bin"},
	} {
		s := State{BinDir: "/source/_local/bin", Kubectl: row.kubectl}
		if got := s.Path(); got != row.want {
			t.Errorf("%s: %q; want %q", row.name, got, row.want)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, row := range []struct{ name, dir, want string }{
		{"the usual folder: make knows it", "/source/_local", "make down"},
		{"any other folder", "/tmp/x", "/source/_local/bin/localcluster down --dir /tmp/x"},
	} {
		s := State{Dir: row.dir, Repository: "/source", BinDir: "/source/_local/bin"}
		if got := s.Command("down"); got != row.want {
			t.Errorf("%s: %q; want %q", row.name, got, row.want)
		}
	}
}
