// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

// etcdDisk is an etcd whose disk can be wiped, copied, and put back.
type etcdDisk struct {
	t      *testing.T
	dir    string
	etcd   *embed.Etcd
	client *clientv3.Client
}

func newEtcdDisk(t *testing.T) *etcdDisk {
	// A folder with a short name: the path of a socket may not be long.
	dir, err := os.MkdirTemp("", "guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &etcdDisk{t: t, dir: dir}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *etcdDisk) data() string { return filepath.Join(d.dir, "data") }

func (d *etcdDisk) start() {
	d.t.Helper()
	cfg := embed.NewConfig()
	client := url.URL{Scheme: "unix", Path: filepath.Join(d.dir, "sock")}
	cfg.Dir, cfg.UnsafeNoFsync, cfg.EnableGRPCGateway = d.data(), true, false
	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, []url.URL{client}, []url.URL{client}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	var err error
	if d.etcd, err = embed.StartEtcd(cfg); err != nil {
		d.t.Fatal(err)
	}
	<-d.etcd.Server.ReadyNotify()
	if d.client, err = Dial(Endpoints{ServerList: []string{client.String()}}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *etcdDisk) stop() {
	if d.etcd != nil {
		d.client.Close()
		d.etcd.Close()
		d.etcd = nil
	}
}

// copy returns a copy of the disk, taken while etcd is stopped.
func (d *etcdDisk) copy() string {
	d.t.Helper()
	d.stop()
	to := d.t.TempDir()
	if err := os.CopyFS(to, os.DirFS(d.data())); err != nil {
		d.t.Fatal(err)
	}
	d.start()
	return to
}

// putBack replaces the disk by a copy of it; by an empty one if that is "".
func (d *etcdDisk) putBack(from string) {
	d.t.Helper()
	d.stop()
	if err := os.RemoveAll(d.data()); err != nil {
		d.t.Fatal(err)
	}
	if from != "" {
		if err := os.CopyFS(d.data(), os.DirFS(from)); err != nil {
			d.t.Fatal(err)
		}
		if err := os.Chmod(d.data(), 0o700); err != nil {
			d.t.Fatal(err)
		}
	}
	d.start()
}

const rolloutsPrefix = "/registry/sluice.dev/rollouts/default/"

// writeRollout stores a Rollout whose UID is its name, and returns its resourceVersion.
func (d *etcdDisk) writeRollout(name string) uint64 {
	d.t.Helper()
	resp, err := d.client.Put(d.t.Context(), rolloutsPrefix+name, "")
	if err != nil {
		d.t.Fatal(err)
	}
	return uint64(resp.Header.Revision)
}

func (d *etcdDisk) deleteRollout(name string) {
	d.t.Helper()
	if _, err := d.client.Delete(d.t.Context(), rolloutsPrefix+name); err != nil {
		d.t.Fatal(err)
	}
}

func (d *etcdDisk) liveRollouts(ctx context.Context) (map[types.UID]string, error) {
	resp, err := d.client.Get(ctx, rolloutsPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	live := map[types.UID]string{}
	for _, kv := range resp.Kvs {
		name := strings.TrimPrefix(string(kv.Key), rolloutsPrefix)
		live[types.UID(name)] = "default/" + name
	}
	return live, nil
}
