// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/apiserver/ownerguard"
)

// startEtcd runs an etcd of one member on a directory until the test ends, or until stop is called.
func startEtcd(t *testing.T, dir string, member Member) (config clientv3.Config, client *clientv3.Client, stop func()) {
	t.Helper()
	// The path of a socket must be short, which that of a test's folder may not be.
	sockets, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	socket := url.URL{Scheme: "unix", Path: filepath.Join(sockets, "s")}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = member.Name, dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{socket}, []url.URL{socket}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, types.MustNewURLs([]string{member.PeerURL})
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			client.Close()
			etcd.Close()
			os.RemoveAll(sockets)
		}
	}
	config, err = ownerguard.Endpoints{ServerList: []string{"unix://" + socket.Path}}.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if client, err = clientv3.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-t.Context().Done():
		t.Fatal("etcd did not get ready")
	}
	return config, client, stop
}

var one = Member{Name: "one", PeerURL: "http://127.0.0.1:2380"}

func put(t *testing.T, client *clientv3.Client, key, value string) int64 {
	t.Helper()
	resp, err := client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// stored is a Rollout as the server stores it.
func stored(t *testing.T, name string) string {
	t.Helper()
	encoder := apiserver.Codecs.EncoderForVersion(protobuf.NewSerializer(apiserver.Scheme, apiserver.Scheme), v1alpha1.SchemeGroupVersion)
	content, err := runtime.Encode(encoder, &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: "11111111-2222-3333-4444-555555555555"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var reading = Reading{Prefix: "/registry", Resources: map[string]schema.GroupResource{"rollouts": rollouts.Resource("rollouts")}, RecordRoot: "/sluice.dev", Decoder: apiserver.Codecs.UniversalDeserializer()}

func TestWhatIsSavedIsWhatIsRestored(t *testing.T) {
	config, client, stop := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	put(t, client, "/sluice.dev/identity", `{"identity":"store","revision":7}`)
	put(t, client, "/registry/rollouts/shop/cart", stored(t, "cart"))
	put(t, client, "/registry/rollouts/shop/gone", stored(t, "gone"))
	if _, err := client.Delete(t.Context(), "/registry/rollouts/shop/gone"); err != nil {
		t.Fatal(err)
	}
	last := put(t, client, "/elsewhere", "something else's")
	path := filepath.Join(t.TempDir(), "a.db")
	if err := Save(t.Context(), config, path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode of the snapshot is %v, want 0600; %v", info.Mode(), err)
	}
	if err := Save(t.Context(), config, path); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second snapshot of that name: %v", err)
	}
	stop()

	report, err := Verify(t.Context(), path, reading)
	if err != nil {
		t.Fatal(err)
	}
	if report.Revision != last || report.Identity != "store" || report.HighWater != 7 || report.OtherKeys != 1 ||
		len(report.Objects) != 1 || report.Objects["Rollout.v1alpha1.sluice.dev"] != 1 {
		t.Errorf("the report is %+v, want revision %d and one Rollout", report, last)
	}

	dir := filepath.Join(t.TempDir(), "restored")
	member := Member{Name: "two", PeerURL: "http://127.0.0.2:2380"}
	if err := Restore(path, dir, member); err != nil {
		t.Fatal(err)
	}
	_, restored, _ := startEtcd(t, dir, member)
	resp, err := restored.Get(t.Context(), "/registry/", clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != stored(t, "cart") {
		t.Fatalf("restored was %v; %v", resp, err)
	}
	if resp.Header.Revision < last+revisionBump {
		t.Errorf("revisions go on at %d, want them far above %d", resp.Header.Revision, last)
	}
	// A watcher of the lost store must not go on as if nothing had happened.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if events := <-restored.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(last+1)); events.CompactRevision == 0 {
		t.Errorf("a watch from before the restore goes on: %+v", events)
	}
	if members, err := restored.MemberList(t.Context()); err != nil || len(members.Members) != 1 || members.Members[0].Name != "two" {
		t.Errorf("the members are %v; %v", members, err)
	}
	if origin, err := Origin(dir); err != nil || origin == nil || origin.Snapshot != path {
		t.Errorf("the origin is %+v; %v", origin, err)
	}
}

func TestRestoreOverwritesNothing(t *testing.T) {
	config, _, _ := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	path := filepath.Join(t.TempDir(), "a.db")
	if err := Save(t.Context(), config, path); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(path, dir, one); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored into a folder with files: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	// What an attempt that was killed has left is no obstacle.
	dir = filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(dir+unfinishedSuffix, "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Restore(path, dir, one); err != nil {
		t.Error(err)
	}
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	config, client, _ := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	put(t, client, "/registry/rollouts/shop/cart", stored(t, "cart"))
	path := filepath.Join(t.TempDir(), "a.db")
	if err := Save(t.Context(), config, path); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func([]byte) []byte{
		"a bit":        func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"checksum":     func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut":          func(b []byte) []byte { return b[:len(b)-4096] },
		"no checksum":  func(b []byte) []byte { return b[:len(b)-32] },
		"empty":        func([]byte) []byte { return nil },
		"only a digit": func([]byte) []byte { return []byte("1") },
	} {
		damaged := filepath.Join(t.TempDir(), "damaged.db")
		if err := os.WriteFile(damaged, damage(slices.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(t.Context(), damaged, reading); err == nil {
			t.Errorf("%s: it was found to be right", what)
		}
		dir := filepath.Join(t.TempDir(), "dir")
		if err := Restore(damaged, dir, one); err == nil {
			t.Errorf("%s: it was restored", what)
		}
		if left, err := filepath.Glob(dir + "*"); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v; %v", what, left, err)
		}
	}
}

func TestAnObjectThatCannotBeReadIsNamed(t *testing.T) {
	config, client, _ := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	put(t, client, "/registry/rollouts/shop/cart", stored(t, "cart"))
	put(t, client, "/registry/rollouts/shop/torn", stored(t, "torn")[:40])
	put(t, client, "/registry/rollouts/shop/sealed", "k8s:enc:aescbc:v1:key1:xyz")
	path := filepath.Join(t.TempDir(), "a.db")
	if err := Save(t.Context(), config, path); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), path, reading)
	if err == nil || !strings.Contains(err.Error(), "/registry/rollouts/shop/torn") {
		t.Errorf("the error is %v", err)
	}
	if report.Objects["Rollout.v1alpha1.sluice.dev"] != 1 || report.Encrypted["aescbc:v1:key1"] != 1 || len(report.Unreadable) != 1 {
		t.Errorf("the report is %+v", report)
	}
}

func TestSchedule(t *testing.T) {
	config, client, _ := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	put(t, client, "/k", "v")
	dir, answering := filepath.Join(t.TempDir(), "snapshots"), true
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s := &Schedule{Etcd: config, Dir: dir, Interval: time.Hour, Keep: 2, Clock: clock, Answering: func() bool { return answering }}
	names := func() (all []string) {
		files, err := List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			all = append(all, filepath.Base(file.Path))
		}
		return all
	}
	step := func(what string, after time.Duration, want ...string) {
		t.Helper()
		clock.Step(after)
		if err := s.once(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := names(); !slices.Equal(got, want) {
			t.Errorf("%s: there are %v, want %v", what, got, want)
		}
	}
	first, second, third := "snapshot-20260102T030405Z.db", "snapshot-20260102T040405Z.db", "snapshot-20260102T050405Z.db"
	step("none yet", 0, first)
	step("not due", 59*time.Minute, first)
	step("due", time.Minute, first, second)
	answering = false
	step("a store that may not answer pushes nothing out", 2*time.Hour, first, second)
	answering = true
	clock.SetTime(time.Date(2026, 1, 2, 5, 4, 5, 0, time.UTC))
	// What is not a complete snapshot neither counts nor, unless it is one that was never finished, goes.
	for _, name := range []string{"notes.txt", "snapshot-today.db", third + ".unfinished", third + ".unfinished.part"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	step("the oldest goes", 0, second, third)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 4 {
		t.Errorf("in the folder are %v; %v", left, err)
	}
	clock.SetTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	// The real clock counts on when it is set back; this one has to be told.
	s.taken = clock.Now()
	step("the clock was set back: not due", time.Minute, second, third)
	step("an hour later it is due, and is the newest by name too", 59*time.Minute, third, "snapshot-20260102T050406Z.db")
	for _, file := range names() {
		if _, err := Checksum(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestASnapshotThatFailsLeavesTheOldOnes(t *testing.T) {
	config, _, stop := startEtcd(t, filepath.Join(t.TempDir(), "etcd"), one)
	clock := clocktesting.NewFakeClock(time.Now())
	s := &Schedule{Etcd: config, Dir: t.TempDir(), Interval: time.Hour, Keep: 1, Clock: clock, Answering: func() bool { return true }}
	if err := s.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	clock.Step(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.once(ctx); err == nil {
		t.Error("a snapshot of an etcd that is gone was taken")
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) != 1 {
		t.Errorf("left are %v; %v", left, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir); err == nil || !strings.Contains(err.Error(), "no snapshot") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Find(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("nothing was found to be something")
	}
	for day := range 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("snapshot-2026010%dT000000Z.db", day+1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Find(dir); err != nil || filepath.Base(got) != "snapshot-20260103T000000Z.db" {
		t.Errorf("the newest is %s; %v", got, err)
	}
}

func TestOnSameVolume(t *testing.T) {
	dir := t.TempDir()
	if same, err := OnSameVolume(filepath.Join(dir, "a", "b"), filepath.Join(dir, "c")); err != nil || !same {
		t.Errorf("two folders of one: %v, %v", same, err)
	}
	if same, err := OnSameVolume(dir, "/proc"); err != nil || same {
		t.Errorf("a folder and another file system: %v, %v", same, err)
	}
}
