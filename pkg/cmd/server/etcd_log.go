// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// etcdLog makes etcd write into the log of the server, in its format.
type etcdLog struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
}

// newEtcdLog returns a logger of what is at the level or above; the level may be changed later.
func newEtcdLog(level zap.AtomicLevel) *zap.Logger {
	return zap.New(&etcdLog{LevelEnabler: level})
}

// With returns a log that adds the fields to every line.
func (l *etcdLog) With(fields []zapcore.Field) zapcore.Core {
	return &etcdLog{LevelEnabler: l.LevelEnabler, fields: slices.Concat(l.fields, fields)}
}

// Check is how zap asks whether a line is wanted.
func (l *etcdLog) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return checked.AddCore(e, l)
	}
	return checked
}

// Write writes a line.
func (l *etcdLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	encoder := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(l.fields, fields) {
		f.AddTo(encoder)
	}
	pairs := make([]any, 0, 2*len(encoder.Fields))
	for _, k := range slices.Sorted(maps.Keys(encoder.Fields)) {
		pairs = append(pairs, k, encoder.Fields[k])
	}
	if e.Level >= zapcore.ErrorLevel {
		klog.ErrorS(nil, "etcd: "+e.Message, pairs...)
	} else {
		klog.InfoS("etcd: "+e.Message, pairs...)
	}
	return nil
}

// Sync has nothing to do: klog flushes by itself.
func (l *etcdLog) Sync() error { return nil }
