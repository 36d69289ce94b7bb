// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"
)

// openTimeout is how long to wait for a database that a process has open. Nobody writes to a snapshot.
const openTimeout = 5 * time.Second

// contents is the database of a snapshot at its newest revision.
type contents struct {
	// revision is that of etcd. version is that of its storage, which older ones do not tell.
	revision int64
	version  string
	// newest is where in the database the newest value of every key is.
	newest map[string][]byte
	tx     *bolt.Tx
}

// readContents checks the structure of the database and calls read, which may use what it is given until it returns.
func readContents(path string, read func(*contents) error) error {
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: openTimeout})
	if err != nil {
		return fmt.Errorf("snapshot %s is no database of etcd: %w", path, err)
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		var damage []string
		for err := range tx.Check() {
			damage = append(damage, err.Error())
		}
		if len(damage) > 0 {
			return fmt.Errorf("the database in snapshot %s is damaged: %s", path, strings.Join(damage, "; "))
		}
		c, err := index(tx)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", path, err)
		}
		return read(c)
	})
}

// index finds the newest value of every key that is not deleted. The database has them in the order of their revisions.
func index(tx *bolt.Tx) (*contents, error) {
	c := &contents{newest: map[string][]byte{}, tx: tx}
	if tx.Bucket(schema.Meta.Name()) == nil || tx.Bucket(schema.Key.Name()) == nil {
		return nil, fmt.Errorf("it is not a database of etcd: it lacks the buckets %s and %s", schema.Meta.Name(), schema.Key.Name())
	}
	if version := schema.ReadStorageVersionFromSnapshot(tx); version != nil {
		c.version = version.String()
	}
	err := tx.Bucket(schema.Key.Name()).ForEach(func(at, value []byte) error {
		revision, err := revisionOf(at)
		if err != nil {
			return err
		}
		c.revision = max(c.revision, revision)
		kv, err := decodeKeyValue(at, value)
		switch {
		case err != nil:
			return err
		case len(kv.Key) == 0: // The mark that a restore has left.
		case mvcc.IsTombstone(at):
			delete(c.newest, string(kv.Key))
		default:
			c.newest[string(kv.Key)] = bytes.Clone(at)
		}
		return nil
	})
	return c, err
}

func decodeKeyValue(at, value []byte) (*mvccpb.KeyValue, error) {
	kv := &mvccpb.KeyValue{}
	if err := proto.Unmarshal(value, kv); err != nil {
		return nil, fmt.Errorf("entry %x of the database cannot be read: %w", at, err)
	}
	return kv, nil
}

// revisionOf is the revision that an entry of the database was written at. etcd's own function panics on others.
func revisionOf(at []byte) (revision int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%x is no revision: %v", at, r)
		}
	}()
	return mvcc.BytesToRev(at).Main, nil
}

// keys are all keys below a prefix, in order.
func (c *contents) keys(prefix string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.newest)), func(key string) bool { return !strings.HasPrefix(key, prefix) })
}

// value is the value of a key; nil if there is none.
func (c *contents) value(key string) ([]byte, error) {
	at, found := c.newest[key]
	if !found {
		return nil, nil
	}
	kv, err := decodeKeyValue(at, c.tx.Bucket(schema.Key.Name()).Get(at))
	if err != nil {
		return nil, err
	}
	return kv.Value, nil
}
