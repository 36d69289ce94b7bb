// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) (*Child, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	child, err := Command{Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Log: log}.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Signal(syscall.SIGKILL) })
	return child, log
}

func TestStop(t *testing.T) {
	for _, row := range []struct {
		name, script string
		signal       os.Signal
		grace        time.Duration
	}{
		{"ends when asked to", "exec sleep 60", syscall.SIGTERM, 10 * time.Second},
		{"is killed when it does not listen", "trap '' TERM; echo ready; while :; do sleep 60; done", syscall.SIGTERM, 10 * time.Millisecond},
		{"is killed at once when that is asked for", "exec sleep 60", syscall.SIGKILL, 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			child, _ := start(t, row.script)
			if !child.Alive() {
				t.Fatal("not alive after its start")
			}
			if err := child.Stop(t.Context(), row.signal, row.grace); err != nil {
				t.Fatal(err)
			}
			if child.Alive() {
				t.Error("still alive")
			}
			<-child.Exited
			if err := child.Stop(t.Context(), row.signal, row.grace); err != nil {
				t.Errorf("stopping what is gone: %v", err)
			}
		})
	}
}

func TestStaleIdentity(t *testing.T) {
	child, _ := start(t, "exec sleep 60")
	for _, row := range []struct {
		name     string
		identity Identity
		alive    bool
	}{
		{"the process itself", child.Identity, true},
		{"its id, given to another process since", Identity{PID: child.PID, Birth: "before"}, false},
		{"ours, though not started by us", Identity{PID: os.Getpid(), Birth: child.Birth}, false},
		{"nothing recorded", Identity{}, false},
		{"an id that nobody has", Identity{PID: 1 << 30, Birth: child.Birth}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.identity.Alive() != row.alive {
				t.Errorf("alive is %v; want %v", !row.alive, row.alive)
			}
			if row.alive {
				return
			}
			if err := row.identity.Stop(t.Context(), syscall.SIGKILL, time.Second); err != nil {
				t.Errorf("stopping it: %v", err)
			}
			if !child.Alive() {
				t.Fatal("a stale identity killed a stranger")
			}
		})
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "read line; exit 0")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	birth, _ := lookup(cmd.Process.Pid)
	identity := Identity{PID: cmd.Process.Pid, Birth: birth}
	if !identity.Alive() {
		t.Fatal("not alive while it waits for input")
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody has collected it: to the system it still exists.
	if !identity.waitGone(t.Context(), 10*time.Second) {
		t.Error("a process that has ended counts as alive until it is collected")
	}
	_ = cmd.Wait()
}

func TestOutputIsAppendedToTheLog(t *testing.T) {
	child, log := start(t, "echo one; echo two >&2; echo three")
	<-child.Exited
	if got := Tail(log, 0, 2); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("the last two lines are %q", got)
	}
	size := Size(log)
	again, err := Command{Path: "/bin/sh", Args: []string{"-c", "echo four"}, Dir: "/", Log: log}.Start()
	if err != nil {
		t.Fatal(err)
	}
	<-again.Exited
	if got := Tail(log, size, 10); !slices.Equal(got, []string{"four"}) {
		t.Errorf("the lines of the second run are %q", got)
	}
}

func TestTailOfALongOrMissingLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if got := Tail(log, 0, 3); got != nil {
		t.Errorf("a missing log has the lines %q", got)
	}
	if err := os.WriteFile(log, []byte(strings.Repeat("x\n", tailBytes)+"last\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Tail(log, 0, 2); !slices.Equal(got, []string{"x", "last"}) {
		t.Errorf("the last two lines are %q", got)
	}
}

func TestEnvironmentIsFiltered(t *testing.T) {
	set := map[string]string{"PATH": "/bin", "ETCD_NAME": "stranger", "KUBECONFIG": "/production", "HOME": "/home/me"}
	got := environment(func(name string) (string, bool) { value, ok := set[name]; return value, ok })
	if !slices.Equal(got, []string{"PATH=/bin", "HOME=/home/me"}) {
		t.Errorf("the environment is %q", got)
	}
}
