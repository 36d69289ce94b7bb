// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
)

// localEtcd leads to one etcd only, the own one if it is embedded.
func (o *Options) localEtcd() ownerguard.Endpoints {
	transport := o.Recommended.Etcd.StorageConfig.Transport
	return ownerguard.Endpoints{ServerList: transport.ServerList[:1],
		CertFile: transport.CertFile, KeyFile: transport.KeyFile, CAFile: transport.TrustedCAFile}
}

// openStore makes the options lead to an etcd with the store: that of --etcd-servers; that of the server that runs on the
// data directory; or, if none does, one that is started on it and ends with release.
func (o *Options) openStore(ctx context.Context) (release func(), err error) {
	if !o.EmbedsEtcd() {
		return func() {}, nil
	}
	servers := &o.Recommended.Etcd.StorageConfig.Transport.ServerList
	if _, err := os.Stat(filepath.Join(o.DataDir, etcdFolder)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no store in --data-dir %s", o.DataDir)
	}
	etcd, err := StartEmbeddedEtcd(ctx, o.DataDir, o.EtcdQuotaBytes)
	if errors.Is(err, errDirInUse) {
		*servers = []string{"unix://" + socketOf(o.DataDir)}
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	*servers = etcd.Endpoints()
	return etcd.Close, nil
}

// countKeys counts the objects and the records of our own in an etcd. What the storage layer keeps for itself, to agree on
// compactions, is there also when nothing was ever stored.
func (o *Options) countKeys(ctx context.Context, endpoints []string) (count int64, err error) {
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: endpoints})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	for _, prefix := range []string{o.Recommended.Etcd.StorageConfig.Prefix, o.recordRoot()} {
		found, err := client.Get(ctx, strings.TrimSuffix(prefix, "/")+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return 0, fmt.Errorf("counting the keys of the store: %w", err)
		}
		count += found.Count
	}
	return count, nil
}
