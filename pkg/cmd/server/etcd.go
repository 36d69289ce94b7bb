// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/cmd/server/member"
)

const (
	// etcdReadyTimeout is how long etcd may take to replay its log before it serves.
	etcdReadyTimeout = 2 * time.Minute
	// DefaultEtcdQuotaBytes and minEtcdQuotaBytes are the default and the least of Options.EtcdQuotaBytes.
	DefaultEtcdQuotaBytes int64 = 4 << 30
	minEtcdQuotaBytes     int64 = 16 << 20
	// etcdProgressInterval is how often idle watches are told the current revision; the watch cache
	// of the API server needs it to answer consistent lists.
	etcdProgressInterval = 5 * time.Second
	// etcdFolder is the folder of etcd in the data directory, socketName the name of its socket there.
	etcdFolder, socketName = "etcd", "etcd.sock"
	// etcdMember is the name of the member, and etcdPeerURL its address as such, where nothing listens.
	etcdMember, etcdPeerURL = "sluice", "http://127.0.0.1:2380"
	// maxSocketPath is how long the path of a unix socket may be everywhere. Unit: bytes.
	maxSocketPath = 100
)

// EmbeddedEtcd is an etcd inside this process. Its clients come over a unix socket in a folder that only our user may
// enter. Unless it is a member of a cluster nobody outside can reach it, and there is no listener for peers.
type EmbeddedEtcd struct {
	etcd      *embed.Etcd
	failed    chan error
	level     zap.AtomicLevel
	lock      *dirLock
	dir       string
	socket    string
	socketDir string
	// ended is done when Close begins; attending are those who have to end then.
	ended     context.Context
	end       context.CancelFunc
	attending sync.WaitGroup
	quota     int64
}

// StartEmbeddedEtcd starts etcd on the data directory, which it makes if there is none, and returns
// when it serves. It fails at once if another process has the directory. ctx bounds the start only:
// etcd lives until Close, since the API server needs it until its last request is answered. Beyond quotaBytes, which
// are at least minEtcdQuotaBytes, the database takes no more writes until there is room again.
func StartEmbeddedEtcd(ctx context.Context, dataDir string, quotaBytes int64) (_ *EmbeddedEtcd, err error) {
	e, err := takeDataDir(ctx, dataDir, quotaBytes)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if owner, err := member.Owner(e.dir); err != nil {
		return nil, err
	} else if owner != "" {
		return nil, fmt.Errorf("data directory %s belongs to member %s of a cluster, which one server alone cannot go on with: start it with --member and --members, or restore a snapshot into an empty directory", e.dir, owner)
	}
	if err := e.start(etcdConfig(e.etcdDir(), e.socket)); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, etcdReadyTimeout, fmt.Errorf("not ready within %s", etcdReadyTimeout))
	defer cancel()
	if err := e.waitReady(bounded); err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	e.attend(zap.WarnLevel)
	return e, nil
}

// takeDataDir makes the data directory and the place of the socket ours. ctx is where values come from.
func takeDataDir(ctx context.Context, dataDir string, quotaBytes int64) (_ *EmbeddedEtcd, err error) {
	// What etcd warns of while it starts is its own configuration, which is meant as it is.
	e := &EmbeddedEtcd{level: zap.NewAtomicLevelAt(zap.ErrorLevel), failed: make(chan error, 1), quota: quotaBytes}
	e.ended, e.end = context.WithCancel(context.WithoutCancel(ctx))
	if e.dir, err = filepath.Abs(dataDir); err != nil {
		return nil, err
	}
	if err := makePrivateDir(e.dir); err != nil {
		return nil, err
	}
	if e.lock, err = lockDir(e.dir); err != nil {
		return nil, err
	}
	if err := e.placeSocket(e.dir); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *EmbeddedEtcd) etcdDir() string { return filepath.Join(e.dir, etcdFolder) }

// start starts etcd, which is not ready then.
func (e *EmbeddedEtcd) start(config *embed.Config) (err error) {
	config.QuotaBackendBytes = e.quota
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newEtcdLog(e.level))
	if e.etcd, err = embed.StartEtcd(config); err != nil {
		e.etcd = nil
		return fmt.Errorf("starting etcd in %s: %w", e.dir, err)
	}
	return nil
}

// attend begins to look after an etcd that is ready, until Close. What it logs from now on has the level or a higher one.
func (e *EmbeddedEtcd) attend(level zapcore.Level) {
	e.level.SetLevel(level)
	e.attending.Go(func() { defragment(e.ended, e.etcd.Server.Backend()) })
	e.attending.Go(func() { keepRoom(e.ended, e.etcd.Server, e.quota) })
	e.attending.Go(func() {
		select {
		case <-e.ended.Done():
		case err := <-e.etcd.Err():
			e.failed <- err
		case <-e.etcd.Server.StopNotify():
			e.failed <- errStopped
		}
	})
}

// makePrivateDir makes the directory, or closes an existing one to other users.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("data directory %s can be read by other users and this cannot be changed; give --data-dir a folder in it: %w", dir, err)
	}
	return nil
}

// placeSocket chooses where clients connect: in the data directory, unless its path is too long for
// the address of a socket. Then a link in the data directory leads to it, for other commands on it.
func (e *EmbeddedEtcd) placeSocket(dataDir string) (err error) {
	inDataDir := filepath.Join(dataDir, socketName)
	if err := os.Remove(inDataDir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the socket that an earlier process has left: %w", err)
	}
	if e.socket = inDataDir; len(e.socket) <= maxSocketPath {
		return nil
	}
	if e.socketDir, err = os.MkdirTemp("", "sluice-etcd-"); err != nil {
		return fmt.Errorf("folder for the socket of etcd: %w", err)
	}
	e.socket = filepath.Join(e.socketDir, socketName)
	return os.Symlink(e.socket, inDataDir)
}

// socketOf is the socket of the etcd that runs on a data directory.
func socketOf(dataDir string) string {
	inDataDir := filepath.Join(dataDir, socketName)
	if elsewhere, err := os.Readlink(inDataDir); err == nil {
		return elsewhere
	}
	return inDataDir
}

func etcdConfig(dir, socket string) *embed.Config {
	client := url.URL{Scheme: "unix", Path: socket}

	cfg := embed.NewConfig()
	cfg.Name = etcdMember
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{client}
	cfg.AdvertiseClientUrls = []url.URL{client}
	cfg.ListenPeerUrls = nil
	// A member has a peer address in any case.
	cfg.AdvertisePeerUrls = types.MustNewURLs([]string{etcdPeerURL})
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.WatchProgressNotifyInterval = etcdProgressInterval
	return cfg
}

// errStopped says that etcd has stopped by itself, as a member does which was removed from its cluster.
var errStopped = errors.New("it stopped by itself; its log says why")

func (e *EmbeddedEtcd) waitReady(ctx context.Context) error {
	select {
	case <-e.etcd.Server.ReadyNotify():
		return nil
	case <-e.etcd.Server.StopNotify():
		return errStopped
	case err := <-e.etcd.Err():
		select {
		case <-e.etcd.Server.StoppingNotify():
			// Its listeners may be the first to tell.
			return errStopped
		default:
			return err
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Endpoints are the addresses for --etcd-servers; they need no TLS files.
func (e *EmbeddedEtcd) Endpoints() []string {
	return []string{"unix://" + e.socket}
}

// LeaderChanged is a channel that is closed when etcd has got another leader.
func (e *EmbeddedEtcd) LeaderChanged() <-chan struct{} { return e.etcd.Server.LeaderChangedNotify() }

// Err yields an error when etcd cannot go on; the process has to end then. It is closed by Close.
func (e *EmbeddedEtcd) Err() <-chan error { return e.failed }

// Close stops etcd and releases the data directory. It is to be called after the API server has
// returned: open watches would delay it by seconds. It may be called more than once.
func (e *EmbeddedEtcd) Close() {
	if e.ended.Err() == nil {
		e.end()
		e.attending.Wait()
		close(e.failed)
	}
	e.shut()
	if e.socketDir != "" {
		if err := os.RemoveAll(e.socketDir); err != nil {
			klog.ErrorS(err, "Could not remove the folder of etcd's socket", "folder", e.socketDir)
		}
		e.socketDir = ""
	}
	if e.lock != nil {
		e.lock.release()
		e.lock = nil
	}
}

// shut stops etcd, if it was started.
func (e *EmbeddedEtcd) shut() {
	if e.etcd == nil {
		return
	}
	// It calls every listener that is closed an error.
	e.level.SetLevel(zap.DPanicLevel)
	select {
	case <-e.etcd.Server.ReadyNotify():
	default:
		// Otherwise it would wait for its listeners, which wait for it to be ready.
		e.etcd.Server.HardStop()
	}
	e.etcd.Close()
	e.etcd = nil
}
