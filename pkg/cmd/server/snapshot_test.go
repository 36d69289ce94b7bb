// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// runCommand runs sluice-apiserver with arguments, and returns what it prints.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := newSnapshotCommand(t.Context())
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(&out)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err := command.Execute()
	return out.String(), err
}

func TestSavingFromARunningServerAndFromAStoppedOne(t *testing.T) {
	// The second is so long that its socket is elsewhere.
	for _, dir := range []string{filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), strings.Repeat("d", maxSocketPath))} {
		e, client := startEtcd(t, dir)
		if _, err := client.Put(t.Context(), "/sluice.dev/identity", `{"identity":"the-store","revision":1}`); err != nil {
			t.Fatal(err)
		}
		running, stopped := filepath.Join(t.TempDir(), "running.db"), filepath.Join(t.TempDir(), "stopped.db")
		if out, err := runCommand(t, "save", running, "--data-dir="+dir); err != nil || !strings.Contains(out, running) {
			t.Fatalf("while it runs: %s%v", out, err)
		}
		e.Close()
		if out, err := runCommand(t, "save", stopped, "--data-dir="+dir); err != nil {
			t.Fatalf("while it is stopped: %s%v", out, err)
		}
		for _, path := range []string{running, stopped} {
			if out, err := runCommand(t, "verify", path); err != nil || !strings.Contains(out, "the-store, complete up to revision 1") {
				t.Errorf("%s: %s%v", path, out, err)
			}
		}
		if out, err := runCommand(t, "verify", running, "-o", "json"); err != nil || !strings.Contains(out, `"identity": "the-store"`) {
			t.Errorf("as JSON: %s%v", out, err)
		}
	}
}

func TestSavingFromNowhere(t *testing.T) {
	dir := t.TempDir()
	if _, err := runCommand(t, "save", filepath.Join(t.TempDir(), "a.db"), "--data-dir="+dir); err == nil || !strings.Contains(err.Error(), "no store in --data-dir "+dir) {
		t.Errorf("the error is %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("a command that only reads has made %v; %v", left, err)
	}
}

func TestRestoreCommandRefusesAStoreThatRunsOrIsThere(t *testing.T) {
	dir, folder := filepath.Join(t.TempDir(), "data"), t.TempDir()
	e, _ := startEtcd(t, dir)
	if out, err := runCommand(t, "save", folder, "--data-dir="+dir); err != nil {
		t.Fatal(out, err)
	}
	if _, err := runCommand(t, "restore", folder, "--data-dir="+dir); err == nil || !strings.Contains(err.Error(), "is in use by") {
		t.Errorf("while it runs: %v", err)
	}
	e.Close()
	if _, err := runCommand(t, "restore", folder, "--data-dir="+dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("while it is there: %v", err)
	}
}

func TestRestoreFromAtTheStart(t *testing.T) {
	lost, folder := filepath.Join(t.TempDir(), "lost"), t.TempDir()
	e, client := startEtcd(t, lost)
	if _, err := client.Put(t.Context(), "/registry/k", "v"); err != nil {
		t.Fatal(err)
	}
	if out, err := runCommand(t, "save", folder, "--data-dir="+lost); err != nil {
		t.Fatal(out, err)
	}
	e.Close()

	options := NewOptions()
	options.DataDir, options.Snapshots.RestoreFrom = filepath.Join(t.TempDir(), "new"), folder
	// A server that was started on the new volume before anybody knew has made an empty store there.
	empty, emptyClient := startEtcd(t, options.DataDir)
	if _, err := emptyClient.Put(t.Context(), "compact_rev_key", "7"); err != nil {
		t.Fatal(err)
	}
	empty.Close()
	if err := options.restoreIfAsked(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored, client := startEtcd(t, options.DataDir)
	if got, err := client.Get(t.Context(), "/registry/k"); err != nil || len(got.Kvs) != 1 {
		t.Fatalf("restored was %v; %v", got, err)
	}
	if _, err := client.Put(t.Context(), "/registry/since", "v"); err != nil {
		t.Fatal(err)
	}
	restored.Close()

	// The flag stays where it is, and takes nothing back.
	if err := options.restoreIfAsked(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := valueIn(t, options.DataDir, "/registry/since"); got != "v" {
		t.Errorf("a second start has lost what was written since: %q", got)
	}

	options.DataDir = lost
	if err := options.restoreIfAsked(t.Context()); err == nil || !strings.Contains(err.Error(), "which is not overwritten") {
		t.Errorf("a store with keys: %v", err)
	}
	if got := valueIn(t, lost, "/registry/k"); got != "v" {
		t.Errorf("what was there is %q", got)
	}
}

func valueIn(t *testing.T, dir, key string) string {
	t.Helper()
	e, client := startEtcd(t, dir)
	defer e.Close()
	got, err := client.Get(context.Background(), key, clientv3.WithSerializable())
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("%s in %s: %v; %v", key, dir, got, err)
	}
	return string(got.Kvs[0].Value)
}

func TestSnapshotOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"none":                  {func(*Options) {}, ""},
		"a folder":              {func(o *Options) { o.Snapshots.Dir = "/snapshots" }, ""},
		"in the data":           {func(o *Options) { o.Snapshots.Dir = o.DataDir + "/snapshots" }, "is in --data-dir"},
		"beside the data":       {func(o *Options) { o.Snapshots.Dir = o.DataDir + "-snapshots" }, ""},
		"too often":             {func(o *Options) { o.Snapshots.Interval = 1 }, "--snapshot-interval is 1ns: it must be at least 1m0s"},
		"none kept":             {func(o *Options) { o.Snapshots.Keep = 0 }, "--snapshot-keep is 0: it must be at least 1"},
		"of an external etcd":   {func(o *Options) { o.Snapshots.Dir = "/snapshots"; external(o) }, "--snapshot-dir is for the embedded etcd"},
		"into each of three":    {func(o *Options) { o.Snapshots.RestoreFrom = "/snapshots"; o.Member.Name = "m0" }, "--restore-from is for a server alone"},
		"into an external etcd": {func(o *Options) { o.Snapshots.RestoreFrom = "/snapshots"; external(o) }, "--restore-from is for the embedded etcd"},
	} {
		o := NewOptions()
		c.change(o)
		message := ""
		for _, err := range o.Snapshots.validate(o) {
			message += err.Error()
		}
		if c.want == "" && message != "" || !strings.Contains(message, c.want) {
			t.Errorf("%s: got %q, want %q", name, message, c.want)
		}
	}
}

func external(o *Options) {
	o.Recommended.Etcd.StorageConfig.Transport.ServerList = []string{"https://etcd:2379"}
}
