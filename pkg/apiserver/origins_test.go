// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/controller/rollout"
)

func requestTraced(id byte, flags trace.TraceFlags) (context.Context, trace.SpanContext) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: flags})
	return trace.ContextWithSpanContext(context.Background(), span), span
}

func TestOrigins(t *testing.T) {
	o := NewOrigins()
	edit, editSpan := requestTraced(1, trace.FlagsSampled)
	promote, promoteSpan := requestTraced(2, trace.FlagsSampled)
	unsampled, _ := requestTraced(3, 0)
	r := &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{UID: "demo", Generation: 2}}
	o.Note(edit, r)
	r.Status.Actions = []rollouts.RolloutAction{{AuditID: "first"}}
	o.Note(promote, r)
	r.Status.Actions = append(r.Status.Actions, rollouts.RolloutAction{AuditID: "second"})
	o.Note(unsampled, r)
	for _, tc := range []struct {
		rule string
		key  rollout.OriginKey
		want trace.SpanContext
	}{
		{"an edit is known by its generation", rollout.OriginKey{UID: "demo", Generation: 2}, editSpan},
		{"a verb by its action", rollout.OriginKey{UID: "demo", Generation: 2, AuditID: "first"}, promoteSpan},
		{"what is not traced leaves nothing", rollout.OriginKey{UID: "demo", Generation: 2, AuditID: "second"}, trace.SpanContext{}},
		{"another Rollout has nothing to do with it", rollout.OriginKey{UID: "other", Generation: 2}, trace.SpanContext{}},
	} {
		if got := o.Of(tc.key); !got.Equal(tc.want) {
			t.Errorf("%s: got %v, want %v", tc.rule, got, tc.want)
		}
	}
	for i := range originsKept {
		o.Note(edit, &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprint(i)), Generation: 1}})
	}
	if got := o.Of(rollout.OriginKey{UID: "demo", Generation: 2}); got.IsValid() || o.spans.Len() != originsKept {
		t.Errorf("after many others it still knows %v, and keeps %d", got, o.spans.Len())
	}
}
