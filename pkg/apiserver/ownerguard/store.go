// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/uuid"

	"sluice.dev/sluice/pkg/engine"
)

// DefaultRoot is where our own keys are in etcd: beside the API objects, never among them.
const DefaultRoot = "/sluice.dev"

// errForeignStore says that the store is not the one for which this process opened the gate.
var errForeignStore = errors.New("the store is not the one that the server was started with")

// ErrStoreReplaced says that etcd was replaced while the server ran. The watch cache is of the former one,
// and would never learn of writes whose revisions it believes to have seen: lists would lack Rollouts, whose
// ReplicaSets the garbage collector would then delete. Nothing but a new process may answer.
var ErrStoreReplaced = errors.New("etcd was replaced under the running server: the server has to be started anew, since what it remembers is of the former one")

// Endpoints says how to reach etcd. The files are those of the usual --etcd-* flags; all empty for a
// connection without TLS.
type Endpoints struct {
	ServerList                []string
	CertFile, KeyFile, CAFile string
}

// ClientConfig is how a client of etcd is configured to reach it. It reads the TLS files.
func (e Endpoints) ClientConfig() (clientv3.Config, error) {
	config := clientv3.Config{
		Endpoints:            e.ServerList,
		DialTimeout:          20 * time.Second,
		DialKeepAliveTime:    30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
		Logger:               zap.NewNop(),
	}
	if e.CertFile != "" || e.KeyFile != "" || e.CAFile != "" {
		tlsInfo := transport.TLSInfo{CertFile: e.CertFile, KeyFile: e.KeyFile, TrustedCAFile: e.CAFile}
		tlsConfig, err := tlsInfo.ClientConfig()
		if err != nil {
			return clientv3.Config{}, fmt.Errorf("TLS files for etcd: %w", err)
		}
		config.TLS = tlsConfig
	}
	return config, nil
}

// Dial connects to etcd. The caller closes the client.
func Dial(e Endpoints) (*clientv3.Client, error) {
	config, err := e.ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("etcd client for %v: %w", e.ServerList, err)
	}
	return client, nil
}

// Store is our record in etcd: the identity of the store and its high-water revision.
//
// The high-water revision is a key and not the revision that etcd itself counts, because the latter
// grows without a write of ours (compaction leaves a mark, a restore may bump it by a billion): an
// older copy would catch up with the record in the host by itself. The key is written after the
// writes that it vouches for, so whichever copy of the store has the key has those writes.
type Store struct {
	client *clientv3.Client
	root   string
	// reached is the highest revision that etcd is known to have come to. It never goes back by itself.
	reached  atomic.Uint64
	replaced atomic.Bool
}

// NewStore returns the record below root, which is DefaultRoot unless several servers share one etcd.
func NewStore(client *clientv3.Client, root string) *Store {
	return &Store{client: client, root: root}
}

// storedRecord is the form of a record in etcd.
type storedRecord struct {
	Identity string `json:"identity"`
	Revision uint64 `json:"revision"`
}

// state is what one linearizable read of the record says.
type state struct {
	// record is nil if there is none.
	record *engine.StoreRecord
	// modified is the revision of the last write of the record; 0 if there is none.
	modified int64
	// revision is how far etcd has come.
	revision uint64
}

func (s *Store) key() string { return RecordKey(s.root) }

// RecordKey is the key of the record below a root.
func RecordKey(root string) string { return path.Join(root, "identity") }

// ParseRecord reads the value of the record's key.
func ParseRecord(value []byte) (engine.StoreRecord, error) {
	var r storedRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return engine.StoreRecord{}, err
	}
	if r.Identity == "" {
		return engine.StoreRecord{}, errors.New("it names no identity")
	}
	return engine.StoreRecord(r), nil
}

// read fails with ErrStoreReplaced, for ever, once etcd has gone back.
func (s *Store) read(ctx context.Context) (state, error) {
	// Taken before the read begins, which then can only see as much or more.
	reached := s.reached.Load()
	resp, err := s.client.Get(ctx, s.key())
	if err != nil {
		return state{}, fmt.Errorf("reading the identity of the store: %w", err)
	}
	st := state{revision: uint64(resp.Header.Revision)}
	if st.revision < reached {
		s.replaced.Store(true)
	}
	if s.replaced.Load() {
		return state{}, ErrStoreReplaced
	}
	raiseTo(&s.reached, st.revision)
	if len(resp.Kvs) == 0 {
		return st, nil
	}
	r, err := ParseRecord(resp.Kvs[0].Value)
	if err != nil {
		return state{}, fmt.Errorf("the identity of the store, etcd key %s, cannot be read (%w): restore the store", s.key(), err)
	}
	st.record = &r
	st.modified = resp.Kvs[0].ModRevision
	return st, nil
}

// Identity is the identity of the store; empty if it was given none yet.
func (s *Store) Identity(ctx context.Context) (string, error) {
	seen, err := s.read(ctx)
	if err != nil || seen.record == nil {
		return "", err
	}
	return seen.record.Identity, nil
}

// rename gives the store a new identity, if the record has not changed since it was seen.
func (s *Store) rename(ctx context.Context, seen state) (engine.StoreRecord, error) {
	r := engine.StoreRecord{Identity: string(uuid.NewUUID()), Revision: seen.revision}
	ok, err := s.put(ctx, seen, r)
	if err == nil && !ok {
		err = errors.New("another server has just given the store an identity")
	}
	return r, err
}

// raise makes the record vouch for a revision at least. The returned record is what is stored then.
func (s *Store) raise(ctx context.Context, identity string, revision uint64) (engine.StoreRecord, error) {
	for {
		seen, err := s.read(ctx)
		switch {
		case err != nil:
			return engine.StoreRecord{}, err
		case seen.record == nil || seen.record.Identity != identity || seen.revision < revision:
			return engine.StoreRecord{}, errForeignStore
		case seen.record.Revision >= revision:
			return *seen.record, nil
		}
		r := engine.StoreRecord{Identity: identity, Revision: seen.revision}
		if ok, err := s.put(ctx, seen, r); err != nil || ok {
			return r, err
		}
	}
}

// put replaces the record that was seen; false if it is not there any more.
func (s *Store) put(ctx context.Context, seen state, r engine.StoreRecord) (bool, error) {
	value, err := json.Marshal(storedRecord(r))
	if err != nil {
		return false, err
	}
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(s.key()), "=", seen.modified)).
		Then(clientv3.OpPut(s.key(), string(value))).
		Commit()
	if err != nil {
		return false, fmt.Errorf("writing the identity of the store: %w", err)
	}
	return resp.Succeeded, nil
}
