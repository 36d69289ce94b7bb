// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/pkg/cmd/server"
)

// serverVariable makes the program of the tests be the server, with its flags: for what a process has only once, such
// as its log.
const serverVariable = "SLUICE_INTEGRATION_SERVER"

// serveAlone is the server, and does not return.
func serveAlone() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := server.NewCommand(ctx).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// output is what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes a part of it.
func (o *output) Write(part []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(part)
}

// lines are the whole lines so far.
func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(o.text.String(), "\n")
	return lines[:len(lines)-1]
}

// startProcess runs a server as a process of its own until the test ends, with further flags.
func startProcess(t *testing.T, flags ...string) (*instance, *output) {
	t.Helper()
	namespace := newNamespace(t)
	forgetReplicaSets(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	log := &output{}
	command := exec.Command(os.Args[0], append([]string{
		"--kubeconfig=" + filepath.Join(host.Dir(), "kubeconfig"), "--data-dir=" + t.TempDir(), "--namespace=" + namespace,
		"--bind-address=127.0.0.1", fmt.Sprint("--secure-port=", address.Port), "--audit-log-path=",
	}, flags...)...)
	command.Env = append(os.Environ(), serverVariable+"=1")
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
		defer stop.Stop()
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := command.Wait(); err != nil {
			t.Errorf("the server ended with an error: %v", err)
		}
		if t.Failed() {
			lines := log.lines()
			t.Logf("its log ends with\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	s := &instance{}
	s.connect(t, namespace, address.String())
	return s, log
}
