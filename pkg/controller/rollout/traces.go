// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// tracerName is what our spans say they were made by.
const tracerName = "sluice.dev/sluice/pkg/controller/rollout"

// OriginKey names a change of a Rollout by a request: by its spec, and by the verb that was performed last.
type OriginKey struct {
	// UID is that of the Rollout.
	UID types.UID
	// Generation is that of its spec.
	Generation int64
	// AuditID is that of its newest action; empty if it has none.
	AuditID string
}

func originOf(r *v1alpha1.Rollout) OriginKey {
	key := OriginKey{UID: r.UID, Generation: r.Generation}
	if n := len(r.Status.Actions); n > 0 {
		key.AuditID = r.Status.Actions[n-1].AuditID
	}
	return key
}

// span begins the span of a decision that writes. The first one that follows from a request is part of the trace of
// that; those after it have traces of their own, with a link to it: an update may take weeks.
func (t *term) span(ctx context.Context, r *v1alpha1.Rollout, page *entry, start time.Time) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{trace.WithTimestamp(start), trace.WithAttributes(
		attribute.String("rollout.namespace", r.Namespace), attribute.String("rollout.name", r.Name))}
	key := originOf(r)
	if origin := t.config.Origin(key); origin.IsValid() {
		if page.followed == key {
			options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: origin}))
		} else {
			ctx = trace.ContextWithRemoteSpanContext(ctx, origin)
		}
	}
	return t.config.TracerProvider.Tracer(tracerName).Start(ctx, "Decide", options...)
}

// end ends the span of a decision with what came of it.
func end(span trace.Span, r *v1alpha1.Rollout, done account, err error) {
	span.SetAttributes(attribute.Int64("rollout.revision", r.Status.Revision), attribute.String("rollout.phase", string(r.Status.Phase)),
		attribute.StringSlice("rollout.wrote", done.writes), attribute.String("rollout.why", why(r)))
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(outcomeOf(err)))
	}
	span.End()
}
