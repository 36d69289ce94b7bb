// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// digestDigits is how many hexadecimal digits of a SHA-256 tell two things apart.
const digestDigits = 16

// newAction is what the server attests of a call before anything came of it: who, when and why.
func (c *call) newAction(ctx context.Context) (rollouts.RolloutAction, error) {
	digest, err := bodyDigest(c.body)
	if err != nil {
		return rollouts.RolloutAction{}, err
	}
	return rollouts.RolloutAction{
		Verb:         c.verb.name,
		User:         c.actor.Name,
		GroupsDigest: groupsDigest(c.actor.Groups),
		Impersonator: impersonator(ctx, c.actor.Name),
		AuditID:      audit.GetAuditIDTruncated(ctx),
		RequestID:    c.body.Request().RequestID,
		BodyDigest:   digest,
		Reason:       c.body.Request().Reason,
		Time:         metav1.NewMicroTime(c.config.Clock.Now()),
	}, nil
}

// bodyDigest tells bodies apart by what they ask for: not by the name of the Rollout, nor by the requestID.
// It is empty without a requestID, since nothing is ever compared with it then.
func bodyDigest(body rollouts.VerbBody) (string, error) {
	if body.Request().RequestID == "" {
		return "", nil
	}
	bare := body.DeepCopyObject().(rollouts.VerbBody)
	bare.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if meta, ok := bare.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta); ok {
		*meta = metav1.ObjectMeta{}
	}
	*bare.VerbStatus() = rollouts.VerbStatus{}
	bare.Request().RequestID = ""
	encoded, err := json.Marshal(bare)
	if err != nil {
		return "", fmt.Errorf("encoding the body: %w", err)
	}
	return digest(encoded), nil
}

// groupsDigest identifies a set of groups: see the field groupsDigest.
func groupsDigest(groups []string) string {
	if len(groups) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(groups))
	return digest([]byte(strings.Join(sorted, "\n") + "\n"))
}

func digest(of []byte) string {
	sum := sha256.Sum256(of)
	return hex.EncodeToString(sum[:])[:digestDigits]
}

func kindOf(body rollouts.VerbBody) string { return reflect.TypeOf(body).Elem().Name() }

type (
	callerKey   struct{}
	repeatedKey struct{}
)

// Caller is who authenticated, before any impersonation. It is filled in while the request is authenticated.
type Caller struct{ User user.Info }

// WithCaller lets the storage tell who acts in the name of another.
func WithCaller(ctx context.Context, caller *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerFrom returns the Caller to be filled in; nil if nobody asked for it.
func CallerFrom(ctx context.Context) *Caller {
	caller, _ := ctx.Value(callerKey{}).(*Caller)
	return caller
}

// impersonator is who acts in the name of user; empty if user does.
func impersonator(ctx context.Context, user string) string {
	if caller := CallerFrom(ctx); caller != nil && caller.User != nil && caller.User.GetName() != user {
		return caller.User.GetName()
	}
	return ""
}

// WithRepeated lets the storage say that a request was performed before: repeated is set to true then.
func WithRepeated(ctx context.Context, repeated *bool) context.Context {
	return context.WithValue(ctx, repeatedKey{}, repeated)
}

func noteRepeated(ctx context.Context) {
	if repeated, ok := ctx.Value(repeatedKey{}).(*bool); ok {
		*repeated = true
	}
}
