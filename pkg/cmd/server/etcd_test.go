// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/test/reliability"
)

// childDataDir, if set in the environment, makes the test binary an etcd that writes for ever.
const childDataDir = "SLUICE_TEST_ETCD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDataDir); dir != "" {
		writeForEver(dir)
	}
	if ensemble := os.Getenv(childMember); ensemble != "" {
		beMember(ensemble, os.Getenv(childIndex))
	}
	os.Exit(m.Run())
}

// writeForEver prints the number of every write that etcd has acknowledged.
func writeForEver(dir string) {
	e, err := StartEmbeddedEtcd(context.Background(), dir, DefaultEtcdQuotaBytes)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: e.Endpoints()})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	value := strings.Repeat("v", 4<<10)
	for i := 0; ; i++ {
		if _, err := client.Put(context.Background(), fmt.Sprintf("/k/%d", i), value); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func startEtcd(t *testing.T, dir string) (*EmbeddedEtcd, *clientv3.Client) {
	t.Helper()
	e, err := StartEmbeddedEtcd(t.Context(), dir, DefaultEtcdQuotaBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: e.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return e, client
}

func TestEmbeddedEtcdKeepsItsDataToItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	e, client := startEtcd(t, dir)
	if _, err := client.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "etcd")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: want mode 0700, got %v, %v", path, info.Mode(), err)
		}
	}
	if len(e.etcd.Peers) != 0 || len(e.etcd.Clients) != 1 || e.etcd.Clients[0].Addr().Network() != "unix" {
		t.Errorf("want one listener, a unix socket; got %d for peers and %v for clients", len(e.etcd.Peers), e.etcd.Clients)
	}
	if e.etcd.Config().UnsafeNoFsync {
		t.Error("fsync is off")
	}
	e.Close()
	_, again := startEtcd(t, dir)
	resp, err := again.Get(t.Context(), "/k")
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("after a restart: %v, %v", resp, err)
	}
}

// The storage layer of the API server has an etcd client of its own; it must like our endpoint.
func TestEmbeddedEtcdServesTheStorageOfTheAPIServer(t *testing.T) {
	e, _ := startEtcd(t, t.TempDir())
	config := storagebackend.NewDefaultConfig("/registry", nil)
	config.Transport.ServerList = e.Endpoints()
	check, err := factory.CreateHealthCheck(*config, t.Context().Done())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for err = check(); err != nil; err = check() {
		select {
		case <-deadline:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestASecondProcessIsToldWhoHasTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	startEtcd(t, dir)
	start := time.Now()
	_, err := StartEmbeddedEtcd(t.Context(), dir, DefaultEtcdQuotaBytes)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by process %d on host ", os.Getpid())) {
		t.Errorf("want an error that names the process, got %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("want to be told at once, took %s", took)
	}
}

func TestALongDataDirectoryGetsItsSocketElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", maxSocketPath))
	e, client := startEtcd(t, dir)
	if _, err := client.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(e.socket)
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("want the folder of the socket private, got %v, %v", info, err)
	}
	e.Close()
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("want the folder of the socket gone after Close, got %v", err)
	}
}

func TestADataDirectoryThatOthersMayReadIsClosedToThem(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	startEtcd(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("want mode 0700, got %v, %v", info.Mode(), err)
	}
}

// kill -9 at any moment loses no acknowledged write, and the next process is not kept waiting by what
// the dead one left behind.
func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDataDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "%d", &acknowledged); err != nil {
			t.Fatalf("child: %s", lines.Text())
		}
		if acknowledged == 200 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if acknowledged < 200 {
		t.Fatalf("the child wrote only %d keys", acknowledged)
	}
	_, client := startEtcd(t, dir)
	resp, err := client.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if resp.Count < int64(acknowledged)+1 {
		t.Errorf("%d writes were acknowledged, %d are there", acknowledged+1, resp.Count)
	}
}

func TestCloseIsQuickEvenWithAnOpenWatch(t *testing.T) {
	e, client := startEtcd(t, t.TempDir())
	<-client.Watch(clientv3.WithRequireLeader(t.Context()), "/k", clientv3.WithCreatedNotify())
	client.Close()
	start := time.Now()
	e.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("want etcd closed within 3 s, took %s", took)
	}
	if _, err := net.Dial("unix", e.socket); err == nil {
		t.Error("the socket still answers")
	}
}

type fakeBackend struct {
	size, used int64
	defrags    int
}

func (b *fakeBackend) Size() int64      { return b.size }
func (b *fakeBackend) SizeInUse() int64 { return b.used }
func (b *fakeBackend) Defrag() error    { b.defrags++; return nil }

func TestDefragmentIfWorthwhile(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name       string
		size, used int64
		want       int
	}{
		{"a small database is left alone, however empty", 60 * mib, 1 * mib, 0},
		{"a database that is mostly in use is left alone", 1000 * mib, 600 * mib, 0},
		{"a database that is mostly free is rewritten", 200 * mib, 80 * mib, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &fakeBackend{size: tc.size, used: tc.used}
			if defragmentIfWorthwhile(b); b.defrags != tc.want {
				t.Errorf("want %d, got %d", tc.want, b.defrags)
			}
		})
	}
}

// What nobody needs any more is thrown away when the quota was reached; what is needed is room that people have to make.
func TestWritesAreLetInAgainWhenThereIsRoom(t *testing.T) {
	e, err := StartEmbeddedEtcd(t.Context(), t.TempDir(), minEtcdQuotaBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: e.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	large := strings.Repeat("v", 1<<20)
	refused := 0
	fill := func(key func(int) string) (written int) {
		t.Helper()
		for ; written < 100; written++ {
			if _, err := client.Put(t.Context(), key(written), large); errors.Is(err, rpctypes.ErrNoSpace) {
				refused++
				return written
			} else if err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("the quota is not reached by 100 MiB")
		return 0
	}
	awaitRoom := func() {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for _, err = client.Put(t.Context(), "/small", "v"); err != nil; _, err = client.Put(t.Context(), "/small", "v") {
			if time.Now().After(deadline) {
				t.Fatalf("no room was made: %v", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	same := fill(func(int) string { return "/same" })
	awaitRoom()
	// All of it is needed now: nothing is let in until something is deleted. Until then there may still be some room
	// that can be made.
	written := 0
	k := &roomKeeper{server: e.etcd.Server, quota: minEtcdQuotaBytes}
	for k.said.IsZero() || !k.refusing() {
		more := fill(func(i int) string { return fmt.Sprint("/k/", written+i) })
		written += more
		if err := k.makeRoom(t.Context()); err != nil {
			t.Logf("trying again: %v", err)
		}
	}
	if limit := minEtcdQuotaBytes - minEtcdQuotaBytes/roomFraction; e.etcd.Server.Backend().SizeInUse() < limit {
		t.Errorf("writes are refused with %d bytes in use, fewer than the %d from which on they are", e.etcd.Server.Backend().SizeInUse(), limit)
	}
	found, err := client.Get(t.Context(), "/k/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	// etcd makes the write that crosses the quota, and answers it with an error all the same.
	if extra := found.Count - int64(written); extra < 0 || extra > 1 {
		t.Errorf("%d writes were acknowledged, and %d are there", written, found.Count)
	}
	if _, err := client.Delete(t.Context(), "/k/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	awaitRoom()
	reliability.Record(t, reliability.Row{Fault: reliability.StoreFull, Times: 2, Seen: reliability.Seen{Acknowledged: same + written, Failed: refused}})
}
