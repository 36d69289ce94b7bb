// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/test/reliability"
)

// smallDisk is a file system that is soon full: the log of etcd takes two files of 64 MiB in advance.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=200m,mode=0700"); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes all room that there is on it.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// writeUntilItEnds runs an etcd that writes until it ends by itself, and calls then at a number of acknowledged writes.
// It returns the last number, and what the process said. A process that goes on is a failure.
func writeUntilItEnds(t *testing.T, dir string, at int, then func()) (acknowledged int, said string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDataDir+"="+dir)
	var stderr bytes.Buffer
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(2*time.Minute, func() { _ = child.Process.Kill() })
	defer patience.Stop()
	acknowledged = -1
	var printed strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "%d", &acknowledged); err != nil {
			printed.WriteString(lines.Text() + "\n")
		} else if acknowledged == at {
			then()
		}
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("with a full disk the process ended with %v, want exit code 1\n%s", err, stderr.String())
	}
	return acknowledged, printed.String() + stderr.String()
}

// A disk that is full ends the process, which says why. Whoever starts it again has it back when there is room, with
// everything that was acknowledged.
func TestAFullDiskLosesNoAcknowledgedWrite(t *testing.T) {
	disk := smallDisk(t)
	dir, filler := filepath.Join(disk, "data"), filepath.Join(disk, "filler")
	row := reliability.Row{Fault: reliability.DiskFull, Times: reliability.Times()}
	kept := -1
	for range row.Times {
		acknowledged, said := writeUntilItEnds(t, dir, 100, func() { fillDisk(t, filler) })
		if acknowledged < 100 || !strings.Contains(said, syscall.ENOSPC.Error()) {
			t.Fatalf("after %d writes it ended with\n%s", acknowledged, said)
		}
		kept = max(kept, acknowledged)
		again, said := writeUntilItEnds(t, dir, -1, nil)
		if !strings.Contains(said, syscall.ENOSPC.Error()) {
			t.Errorf("started on a full disk it said\n%s", said)
		}
		kept = max(kept, again)
		row.Acknowledged += acknowledged + again + 2
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		e, client := startEtcd(t, dir)
		found, err := client.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		if found.Count < int64(kept)+1 {
			t.Errorf("%d writes were acknowledged, %d are there", kept+1, found.Count)
		}
		client.Close()
		e.Close()
	}
	reliability.Record(t, row)
}
