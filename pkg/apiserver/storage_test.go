// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/storage"
)

func TestWantOfAQuorumIsExplained(t *testing.T) {
	notFound := storage.NewKeyNotFoundError("/k", 7)
	for _, tc := range []struct {
		name      string
		err       error
		explained bool
	}{
		{"no leader", rpctypes.ErrNoLeader, true},
		{"no quorum in time", rpctypes.ErrTimeout, true},
		{"the leader failed meanwhile", fmt.Errorf("get: %w", rpctypes.ErrTimeoutDueToLeaderFail), true},
		{"the leader has changed", rpctypes.ErrLeaderChanged, true},
		{"etcd as the connection sees it", status.Error(codes.Unavailable, "connection refused"), true},
		{"a leader hands over", status.Error(codes.Unknown, "raft proposal dropped"), true},
		{"wrapped", fmt.Errorf("list: %w", status.Error(codes.Unavailable, "transport is closing")), true},
		{"nothing wrong", nil, false},
		{"an object that is not there is not there", notFound, false},
		{"a compacted revision is for the storage to tell", rpctypes.ErrCompacted, false},
		{"a full disk is not cured by trying again", rpctypes.ErrNoSpace, false},
		{"the request has ended", context.Canceled, false},
		{"a refusal", apierrors.NewBadRequest("no"), false},
		{"anything else", errors.New("broken"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := explain(tc.err)
			if !tc.explained {
				if got != tc.err {
					t.Errorf("want it as it was, got %v", got)
				}
				return
			}
			var answer apierrors.APIStatus
			if !errors.As(got, &answer) || answer.Status().Code != http.StatusServiceUnavailable || answer.Status().Details.RetryAfterSeconds < 1 {
				t.Errorf("want 503 with Retry-After, got %v", got)
			}
		})
	}
}
