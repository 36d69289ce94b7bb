// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
)

// lookTimeout is how long the other members have for an answer: longer than they need to elect a leader.
const lookTimeout = 3 * time.Second

// changeTimeout is how long a change of the membership may take.
const changeTimeout = 10 * time.Second

// Endpoint is where a member is.
type Endpoint struct {
	// Name is the name of the member.
	Name string
	// PeerURL is where other members talk to it as etcd, ClientURL where they ask it to let them join.
	PeerURL, ClientURL string
}

// Peers are the members of a cluster, as one of them sees them.
type Peers struct {
	// Self is this member, Others are all others that there may be.
	Self   Endpoint
	Others []Endpoint
	// TLS is how members know each other.
	TLS transport.TLSInfo
	// RecordRoot is where the owner guard keeps the identity of the store.
	RecordRoot string
}

// answer is what one other member says.
type answer struct {
	reached bool
	cluster *Cluster
}

// Look asks all other members, all at once. quorum is what they have decided together, nil if they cannot; reached is
// how many of them answered at all.
func (p *Peers) Look(ctx context.Context) (quorum *Cluster, reached int) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	answers := make([]answer, len(p.Others))
	var all sync.WaitGroup
	for i, other := range p.Others {
		all.Go(func() {
			if answers[i].reached = p.reach(ctx, other); answers[i].reached {
				// An error is what there is to be said of a member that waits for others.
				answers[i].cluster, _ = p.ask(ctx, other)
			}
		})
	}
	all.Wait()
	for _, a := range answers {
		if a.reached {
			reached++
		}
		if quorum == nil {
			quorum = a.cluster
		}
	}
	return quorum, reached
}

// reach says whether a member runs with data, be it without a quorum.
func (p *Peers) reach(ctx context.Context, other Endpoint) bool {
	t, err := transport.NewTransport(p.TLS, lookTimeout)
	if err != nil {
		return false
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, other.PeerURL+"/members", nil)
	if err != nil {
		return false
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// ask asks one member for what its cluster has decided.
func (p *Peers) ask(ctx context.Context, other Endpoint) (*Cluster, error) {
	client, err := p.dial(other)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	// Both reads need a quorum.
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	identity, err := ownerguard.NewStore(client, p.RecordRoot).Identity(ctx)
	if err != nil {
		return nil, err
	}
	return &Cluster{ID: list.Header.ClusterId, Identity: identity, Members: members(list.Members)}, nil
}

func (p *Peers) dial(other Endpoint) (*clientv3.Client, error) {
	tlsConfig, err := p.TLS.ClientConfig()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: []string{other.ClientURL}, TLS: tlsConfig, DialTimeout: lookTimeout, Logger: zap.NewNop()})
}

func members(list []*etcdserverpb.Member) []Member {
	all := make([]Member, 0, len(list))
	for _, m := range list {
		member := Member{ID: m.ID, Name: m.Name, Learner: m.IsLearner}
		if len(m.PeerURLs) > 0 {
			member.URL = m.PeerURLs[0]
		}
		all = append(all, member)
	}
	return all
}

// Enter makes this member, which has no data, a new learner of the cluster, and returns all members. What the cluster
// knew under its name or address is removed first: its data is gone, and with it what it had promised to others.
func (p *Peers) Enter(ctx context.Context) ([]Member, error) {
	return p.change(ctx, func(ctx context.Context, client *clientv3.Client) ([]Member, error) {
		list, err := client.MemberList(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range members(list.Members) {
			if m.Name != p.Self.Name && m.URL != p.Self.PeerURL {
				continue
			}
			if _, err := client.MemberRemove(ctx, m.ID); err != nil {
				return nil, fmt.Errorf("removing the former member of this name, %x: %w", m.ID, err)
			}
		}
		added, err := client.MemberAddAsLearner(ctx, []string{p.Self.PeerURL})
		if err != nil {
			return nil, fmt.Errorf("adding this member: %w", err)
		}
		return members(added.Members), nil
	})
}

// Members are all members of the cluster that the others form.
func (p *Peers) Members(ctx context.Context) ([]Member, error) {
	return p.change(ctx, func(ctx context.Context, client *clientv3.Client) ([]Member, error) {
		list, err := client.MemberList(ctx)
		if err != nil {
			return nil, err
		}
		return members(list.Members), nil
	})
}

// Promote makes a learner a voter.
func (p *Peers) Promote(ctx context.Context, id uint64) error {
	_, err := p.change(ctx, func(ctx context.Context, client *clientv3.Client) ([]Member, error) {
		_, err := client.MemberPromote(ctx, id)
		return nil, err
	})
	return err
}

// change asks one member after the other, until one can do it.
func (p *Peers) change(ctx context.Context, do func(context.Context, *clientv3.Client) ([]Member, error)) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var errs []error
	for _, other := range p.Others {
		client, err := p.dial(other)
		if err != nil {
			return nil, err
		}
		bounded, end := context.WithTimeout(ctx, changeTimeout/time.Duration(len(p.Others)))
		result, err := do(bounded, client)
		end()
		client.Close()
		if err == nil {
			return result, nil
		}
		errs = append(errs, fmt.Errorf("by way of %s: %w", other.Name, err))
	}
	return nil, errors.Join(errs...)
}

// InitialCluster is what etcd wants to know of the members of a cluster that it joins.
func (p *Peers) InitialCluster(all []Member) string {
	pairs := make([]string, 0, len(all))
	for _, m := range all {
		name := m.Name
		if m.URL == p.Self.PeerURL {
			name = p.Self.Name
		}
		if name == "" {
			// One that has not started has only an address.
			name = fmt.Sprintf("%x", m.ID)
		}
		pairs = append(pairs, name+"="+m.URL)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}
