// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/lru"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/controller/rollout"
)

// originsKept is how many changes are remembered that no decision has followed yet, as on a replica that does not lead.
const originsKept = 1024

// Origins remembers the trace in which each of the newest changes of Rollouts was made, so that the decision that
// follows from it becomes part of that trace. It is in memory: a decision by another replica than the one that served
// the request begins a trace of its own.
type Origins struct{ spans *lru.Cache }

// NewOrigins returns an empty Origins.
func NewOrigins() *Origins { return &Origins{spans: lru.New(originsKept)} }

// Note remembers that a Rollout is about to be stored by the request of a context. A request that is not traced leaves
// nothing.
func (o *Origins) Note(ctx context.Context, r *rollouts.Rollout) {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		o.spans.Add(originKey(rollout.OriginKey{UID: r.UID, Generation: r.Generation, AuditID: newestAuditID(r)}), span)
	}
}

// Of returns the trace of the change that led to a state; an invalid one if that is not known.
func (o *Origins) Of(key rollout.OriginKey) trace.SpanContext {
	span, _ := o.spans.Get(originKey(key))
	found, _ := span.(trace.SpanContext)
	return found
}

func originKey(key rollout.OriginKey) string {
	return fmt.Sprintf("%s/%d/%s", key.UID, key.Generation, key.AuditID)
}

// newestAuditID tells states apart that verbs lead to without a change of the spec.
func newestAuditID(r *rollouts.Rollout) string {
	if n := len(r.Status.Actions); n > 0 {
		return r.Status.Actions[n-1].AuditID
	}
	return ""
}
