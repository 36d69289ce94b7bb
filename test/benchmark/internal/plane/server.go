// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// startPatience is how long a server may take to be ready before it is given up.
const startPatience = 5 * time.Minute

// Restart ends SluiceAPIServer in good order and starts it again on the same data. It returns how long its process then
// took to be ready.
func (p *Plane) Restart(ctx context.Context) (time.Duration, error) {
	if err := p.launch(ctx, "stop", SluiceAPIServer); err != nil {
		return 0, err
	}
	if err := p.launch(ctx, "start", "--wait=false", SluiceAPIServer); err != nil {
		return 0, err
	}
	if err := p.read(); err != nil {
		return 0, err
	}
	c, err := p.component(SluiceAPIServer)
	if err != nil {
		return 0, err
	}
	client, err := p.direct(SluiceAPIServer)
	if err != nil {
		return 0, err
	}
	if err := awaitReady(ctx, client); err != nil {
		return 0, err
	}
	return age(c.Process.PID)
}

func awaitReady(ctx context.Context, client *rest.RESTClient) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		_, err := client.Get().AbsPath("/readyz").MaxRetries(0).DoRaw(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the server to be ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Standby is a second server on the store of SluiceAPIServer, which the control plane does not know.
type Standby struct {
	// PID is its process.
	PID int

	process *exec.Cmd
	dir     string
}

// Standby starts one and waits until it is ready. Its etcd is the one inside of SluiceAPIServer, whose socket it uses.
func (p *Plane) Standby(ctx context.Context) (_ *Standby, err error) {
	c, err := p.component(SluiceAPIServer)
	if err != nil {
		return nil, err
	}
	if c.DataDir == "" {
		return nil, fmt.Errorf("the %s of this control plane has no etcd inside", SluiceAPIServer)
	}
	s := &Standby{}
	if s.dir, err = os.MkdirTemp("", "sluice-standby-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Kill()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.process = exec.Command(c.Path, append(standbyArgs(c.Args),
		"--etcd-servers=unix://"+socket(c.DataDir), fmt.Sprintf("--secure-port=%d", port), "--audit-log-path=")...)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.process = nil
		return nil, err
	}
	s.PID = s.process.Process.Pid
	client, err := p.directTo(fmt.Sprintf("https://127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	if err := awaitReady(ctx, client); err != nil {
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	return s, nil
}

// standbyArgs are the arguments of the first server without those that each server has of its own.
func standbyArgs(args []string) []string {
	own := []string{"--data-dir", "--snapshot-dir", "--secure-port", "--audit-log-path"}
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains(own, name)
	})
}

// socket is where the etcd on a data directory listens: there, unless the path would be too long. Then a link leads to it.
func socket(dataDir string) string {
	path := filepath.Join(dataDir, "etcd.sock")
	if elsewhere, err := os.Readlink(path); err == nil {
		return elsewhere
	}
	return path
}

// Kill ends it with SIGKILL, and removes what it leaves. It may be called twice.
func (s *Standby) Kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
	_ = os.RemoveAll(s.dir)
}
