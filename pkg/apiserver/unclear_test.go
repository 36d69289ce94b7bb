// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

// losing is a store of one object whose etcd loses its leader: what a real one cannot be made to do on demand, to a
// write that was made, or to one that was not.
type losing struct {
	storage.Interface
	changed chan struct{}
	// lost are the writes to come of which nobody hears any more; made says whether they are made nevertheless.
	lost int
	made bool
	// dropped is how many updates are refused at once, while reads go on.
	dropped int
	// unled is how many updates do not come to write.
	unled int
	// unread is how many reads find no leader yet.
	unread  int
	version int
	writes  int
}

func (l *losing) object() *rollouts.Rollout {
	return &rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "demo", ResourceVersion: string(rune('0' + l.version))}}
}

func (l *losing) GuaranteedUpdate(ctx context.Context, _ string, _ runtime.Object, _ bool, _ *storage.Preconditions, update storage.UpdateFunc, _ runtime.Object) error {
	if l.unled > 0 {
		l.unled--
		return rpctypes.ErrNoLeader
	}
	if _, _, err := update(l.object(), storage.ResponseMeta{}); err != nil {
		return err
	}
	l.writes++
	if l.dropped > 0 {
		l.dropped--
		return status.Error(codes.Unknown, raft.ErrProposalDropped.Error())
	}
	if l.lost == 0 {
		l.version++
		return nil
	}
	if l.lost--; l.made {
		l.version++
	}
	close(l.changed)
	<-ctx.Done()
	return ctx.Err()
}

func (l *losing) Get(_ context.Context, _ string, _ storage.GetOptions, into runtime.Object) error {
	if l.unread > 0 {
		l.unread--
		return rpctypes.ErrNoLeader
	}
	l.object().DeepCopyInto(into.(*rollouts.Rollout))
	return nil
}

func (l *losing) GetList(_ context.Context, _ string, _ storage.ListOptions, into runtime.Object) error {
	list := into.(*rollouts.RolloutList)
	list.Items = append(list.Items, *l.object())
	if l.unread > 0 {
		l.unread--
		return rpctypes.ErrNoLeader
	}
	return nil
}

func TestAnUpdateWhoseLeaderHasGone(t *testing.T) {
	for _, tc := range []struct {
		name     string
		store    losing
		answered bool
		writes   int
	}{
		{"no other leader", losing{}, true, 1},
		{"lost, and made again", losing{lost: 1}, true, 2},
		{"no leader to read from at first", losing{unled: 2}, true, 1},
		{"lost, and made again once there is a leader", losing{lost: 1, unread: 3}, true, 2},
		{"made, as far as anybody knows", losing{lost: 1, made: true}, false, 1},
		{"no leader for long", losing{lost: 1, unread: 1000}, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := &tc.store
			l.changed, l.version = make(chan struct{}), 1
			e := explained{Interface: l, newObject: func() runtime.Object { return &rollouts.Rollout{} }, leaderChanged: func() <-chan struct{} {
				if l.writes > 0 {
					return make(chan struct{})
				}
				return l.changed
			}}
			err := e.GuaranteedUpdate(t.Context(), "/demo", &rollouts.Rollout{}, false, nil, func(input runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
				return input, nil, nil
			}, nil)
			if l.writes != tc.writes {
				t.Errorf("%d writes, want %d", l.writes, tc.writes)
			}
			if tc.answered && err != nil {
				t.Error(err)
			}
			var answer apierrors.APIStatus
			if !tc.answered && (!errors.As(err, &answer) || answer.Status().Code != http.StatusServiceUnavailable || answer.Status().Details.RetryAfterSeconds < 1) {
				t.Errorf("want 503 with Retry-After, got %v", err)
			}
		})
	}
}

// A store that reads and does not write is not asked without a pause, nor for ever.
func TestAnUpdateThatIsDroppedAgainAndAgain(t *testing.T) {
	l := &losing{version: 1, dropped: 1 << 30}
	e := explained{Interface: l, newObject: func() runtime.Object { return &rollouts.Rollout{} }, leaderChanged: func() <-chan struct{} { return nil }}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := e.GuaranteedUpdate(ctx, "/demo", &rollouts.Rollout{}, false, nil, func(input runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		return input, nil, nil
	}, nil)
	if ctx.Err() != nil || !apierrors.IsServiceUnavailable(err) {
		t.Errorf("want 503 before the caller has given up, got %v", err)
	}
	if most := int(clearWithin/askAgain) + 1; l.writes < 2 || l.writes > most {
		t.Errorf("it was written %d times, want 2 to %d", l.writes, most)
	}
}

// A caller who has gone is not told of leaders.
func TestAWriteEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := explained{leaderChanged: func() <-chan struct{} { return make(chan struct{}) }}
	err := e.whileLed(ctx, func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAReadWaitsForALeader(t *testing.T) {
	for _, tc := range []struct {
		unread   int
		answered bool
	}{{0, true}, {3, true}, {1000, false}} {
		l := &losing{unread: tc.unread, version: 1}
		e := explained{Interface: l, leaderChanged: func() <-chan struct{} { return nil }}
		if err := e.Get(t.Context(), "/demo", storage.GetOptions{}, &rollouts.Rollout{}); tc.answered != (err == nil) || err != nil && !apierrors.IsServiceUnavailable(err) {
			t.Errorf("%d reads found no leader: %v", tc.unread, err)
		}
		l.unread = tc.unread
		list := &rollouts.RolloutList{}
		if err := e.GetList(t.Context(), "/", storage.ListOptions{}, list); tc.answered != (err == nil) || err == nil && len(list.Items) != 1 {
			t.Errorf("%d lists found no leader: %d objects, %v", tc.unread, len(list.Items), err)
		}
	}
}
