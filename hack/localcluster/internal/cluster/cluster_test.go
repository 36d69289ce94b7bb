// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/hack/localcluster/internal/component"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

// script is a control plane whose etcd and API server are shell scripts.
func script(t *testing.T, etcd string) *Cluster {
	t.Helper()
	layout := component.Layout{Dir: t.TempDir(), BinDir: t.TempDir(), Mode: component.NoSluice, Ports: map[string]int{}}
	for _, folder := range layout.Folders() {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := prepare(layout, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(layout.BinDir, component.Etcd), []byte("#!/bin/sh\n"+etcd+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	silent, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	reporter := progress.New(silent)
	unlock, err := lock(t.Context(), layout.Dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{reporter: reporter, unlock: unlock, layout: layout, state: state.New(layout, time.Now())}
	t.Cleanup(func() {
		if err := c.stopAll(t.Context()); err != nil {
			t.Error(err)
		}
		reporter.Close()
		_ = c.Close()
	})
	return c
}

func TestACrashedComponentIsNamedWithItsLastLines(t *testing.T) {
	c := script(t, "echo first; echo the disk is full >&2; exit 3")
	err := c.Start(t.Context(), component.Etcd, StartOptions{Wait: true, Timeout: time.Minute})
	for _, want := range []string{"etcd ended while it started", "the disk is full", c.layout.Log(component.Etcd)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	reports := Status(t.Context(), c.state, time.Now())
	if reports[0].Condition != state.Crashed || !strings.Contains(reports[0].LastLines, "the disk is full") || Healthy(reports) {
		t.Errorf("the report is %+v", reports[0])
	}
}

func TestAPortThatIsTakenIsReplaced(t *testing.T) {
	c := script(t, "echo 'listen tcp 127.0.0.1: bind: address already in use'; exit 1")
	before := c.current().Ports
	err := c.launch(t.Context(), component.Etcd)
	if !errors.Is(err, errPortTaken) {
		t.Fatalf("error is %v; want one about the port", err)
	}
	for name, port := range c.current().Ports {
		if moved := before[name] != port; moved != strings.HasPrefix(name, component.Etcd) {
			t.Errorf("port %s: moved is %v", name, moved)
		}
	}
	recorded, err := state.Load(c.Dir())
	if err != nil || recorded.Ports[component.Etcd] != c.current().Ports[component.Etcd] {
		t.Errorf("recorded %v, %v", recorded.Ports, err)
	}
}

func TestStartAndStopOfOneComponent(t *testing.T) {
	c := script(t, `echo "$@"; exec sleep 60`)
	options := StartOptions{ExtraArgs: []string{"--accept-data-loss"}}
	if err := c.Start(t.Context(), component.Etcd, options); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), component.Etcd, options); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second start: %v", err)
	}
	if err := refuseRunning(c.state); err == nil || !strings.Contains(err.Error(), "etcd (process ") {
		t.Errorf("a second control plane in the same folder: %v", err)
	}
	if err := c.Restart(t.Context(), component.Etcd, syscall.SIGKILL, StartOptions{}); err != nil {
		t.Fatal(err)
	}
	recorded, err := c.find(component.Etcd)
	if err != nil || recorded.ExtraArgs != nil || recorded.Condition() != state.Running {
		t.Errorf("after the restart: %+v, %v; arguments of one run must not outlive it", recorded, err)
	}
	if err := c.Stop(t.Context(), component.Etcd, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if recorded, err = c.find(component.Etcd); err != nil || recorded.Condition() != state.Stopped {
		t.Errorf("after the stop: %+v, %v", recorded, err)
	}
	if err := refuseRunning(c.state); err != nil {
		t.Errorf("nothing runs, yet: %v", err)
	}
}

func TestTheFolderIsLocked(t *testing.T) {
	c := script(t, "exit 0")
	_, err := lock(t.Context(), c.Dir(), 0)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("error is %v; want one that names the holder", err)
	}
}

func TestPurgeLeavesWhatIsNotItsOwn(t *testing.T) {
	c := script(t, "exit 0")
	mine := filepath.Join(c.Dir(), "notes.txt")
	for _, path := range []string{mine, c.layout.Kubeconfig()} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Purge(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(c.Dir())
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(mine) {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := os.MkdirAll(filepath.Dir(state.Path(c.Dir())), 0o700); err != nil { // for the clean-up
		t.Fatal(err)
	}
}

func TestWaitHealthy(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			http.Error(w, "[+]ping ok\n[-]informer-sync failed: reason withheld\n", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	client := prober(&state.State{}, component.Component{})
	if _, text := probe(t.Context(), client, server.URL); text != "500 Internal Server Error: informer-sync failed" {
		t.Errorf("the answer in short is %q", text)
	}
	if answer, err := waitHealthy(t.Context(), client, server.URL, nil); err != nil || answer != "ok" {
		t.Errorf("waiting ended with %q, %v", answer, err)
	}
	exited := make(chan struct{})
	close(exited)
	server.Close()
	if answer, err := waitHealthy(t.Context(), client, server.URL, exited); !errors.Is(err, errExited) || !strings.Contains(answer, "nothing listens") {
		t.Errorf("waiting for a dead process ended with %q, %v", answer, err)
	}
}

func TestStopOrder(t *testing.T) {
	for _, row := range []struct {
		rule   string
		layout component.Layout
		want   [][]string
	}{
		{"clients before their servers", component.Layout{Mode: component.ExternalEtcd}, [][]string{
			{component.Sluice, component.SluiceReplica, component.SluiceBalancer, component.ControllerManager, component.Scheduler, component.Kwok},
			{component.KubeAPIServer},
			{component.Etcd, component.SluiceEtcd},
			nil,
		}},
		{"the sandbox after all that is in it", component.Layout{Mode: component.InCluster, Real: true}, [][]string{
			{component.Containerd, component.ControllerManager, component.Scheduler, component.Kubelet, component.KubeProxy, component.Relay},
			{component.KubeAPIServer},
			{component.Etcd},
			{component.Sandbox},
		}},
	} {
		if got := stopOrder(state.New(row.layout, time.Now()).Components); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: stopped in the order %q; want %q", row.rule, got, row.want)
		}
	}
}

func TestTheWayToTheArtifactsFollowsSymbolicLinks(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"real/deep/plane", "source"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "real/deep"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := relative(filepath.Join(root, "link/plane"), filepath.Join(root, "source"))
	if want := "../../../source"; err != nil || got != want {
		t.Errorf("the way is %q, %v; want %q", got, err, want)
	}
}
