// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/cmd/server/member"
)

const (
	// memberTick and memberElection are the heartbeat of a leader and how long followers wait for one. An election takes
	// up to twice the latter, and requests wait for it: below the time that callers are promised.
	memberTick, memberElection = 60 * time.Millisecond, 600 * time.Millisecond
	// memberRetry is how long to wait, with jitter, before it is looked again what a member can do.
	memberRetry = 500 * time.Millisecond
)

// ClusterRecords are what members know of each other through the host cluster.
type ClusterRecords interface {
	// Identity is the store that the host knows; empty if it knows none.
	Identity(ctx context.Context) (string, error)
	// Founder is the member that has claimed to found the cluster; empty if none has.
	Founder(ctx context.Context) (string, error)
	// Claim claims the right to found the cluster, unless somebody has.
	Claim(ctx context.Context, name string) error
}

// MemberConfig is what an etcd needs that is a member of a cluster.
type MemberConfig struct {
	// DataDir is the data directory.
	DataDir string
	// QuotaBytes is the size of the database beyond which it takes no more writes; that of all members should be the same.
	QuotaBytes int64
	// Peers are all members, this one among them.
	Peers *member.Peers
	// BindAddress is where the member listens for the others.
	BindAddress net.IP
	// Records are kept in the host.
	Records ClusterRecords
	// AcceptDataLoss and AcceptQuorumLoss are what member.Observation says.
	AcceptDataLoss, AcceptQuorumLoss bool
}

// joining is a member on its way into the cluster.
type joining struct {
	MemberConfig
	*EmbeddedEtcd
	disk    member.Disk
	stopped *member.Self
	// alone is since when no other member has answered; zero while one does.
	alone time.Time
	said  string
}

// StartEtcdMember starts etcd as a member of a cluster, and returns when it serves: when it is a voter and there is a
// quorum. Until then it waits, for as long as ctx lasts. etcd lives until Close.
func StartEtcdMember(ctx context.Context, config MemberConfig) (_ *EmbeddedEtcd, err error) {
	e, err := takeDataDir(ctx, config.DataDir, config.QuotaBytes)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	j := &joining{MemberConfig: config, EmbeddedEtcd: e, disk: member.Disk{Dir: e.dir, Etcd: e.etcdDir()}}
	for {
		ready, err := j.step(ctx)
		switch {
		case ready:
			// It warns of every member that is down, again and again.
			e.attend(zap.ErrorLevel)
			return e, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, new(refusal)):
			return nil, err
		case err != nil:
			klog.ErrorS(err, "This member cannot join the cluster yet; will try again", "member", config.Peers.Self.Name)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait.Jitter(memberRetry, 1)):
		}
	}
}

// refusal is an error that only a person can mend.
type refusal struct{ error }

// step looks, decides and acts once. ready is true when etcd serves.
func (j *joining) step(ctx context.Context) (ready bool, err error) {
	o, err := j.observe(ctx)
	if err != nil {
		return false, err
	}
	d := member.Decide(o)
	if said := fmt.Sprintf("%s: %s", d.Action, d.Because); said != j.said {
		klog.InfoS("Decided what this member of the cluster does", "member", o.Name, "action", d.Action, "because", d.Because)
		j.said = said
	}
	switch d.Action {
	case member.Refuse:
		return false, refusal{errors.New(d.Because)}
	case member.Claim:
		return false, j.Records.Claim(ctx, o.Name)
	case member.Discard:
		j.stopped = nil
		return false, j.disk.Discard()
	case member.Wait:
		return false, nil
	}
	if err := j.disk.Own(o.Name); err != nil {
		return false, err
	}
	if err := j.enter(ctx, d.Action); err != nil {
		j.note(err)
		j.shut()
		return false, err
	}
	return true, nil
}

// note remembers which member etcd was, if it has stopped by itself.
func (j *joining) note(err error) {
	j.stopped = nil
	if errors.Is(err, errStopped) && j.etcd != nil {
		j.stopped = &member.Self{Cluster: uint64(j.etcd.Server.Cluster().ID()), ID: uint64(j.etcd.Server.MemberID())}
	}
}

func (j *joining) observe(ctx context.Context) (member.Observation, error) {
	o := member.Observation{Name: j.Peers.Self.Name, Stopped: j.stopped, AcceptDataLoss: j.AcceptDataLoss, AcceptQuorumLoss: j.AcceptQuorumLoss}
	var err error
	if o.Content, o.Owner, err = j.disk.Look(); err != nil {
		return o, err
	}
	// The host comes first: what the cluster says later is at least as new.
	if o.Identity, err = j.Records.Identity(ctx); err != nil {
		return o, err
	}
	if o.Founder, err = j.Records.Founder(ctx); err != nil {
		return o, err
	}
	o.Quorum, o.Reached = j.Peers.Look(ctx)
	switch {
	case o.Reached > 0:
		j.alone = time.Time{}
	case j.alone.IsZero():
		j.alone = time.Now()
	default:
		o.Alone = time.Since(j.alone)
	}
	return o, nil
}

// enter starts etcd in the way that was decided, and returns when it serves as a voter.
func (j *joining) enter(ctx context.Context, action member.Action) error {
	config := j.config()
	switch action {
	case member.Found:
		if err := errors.Join(j.disk.Founding(), j.disk.Clear()); err != nil {
			return err
		}
		config.InitialCluster = config.InitialClusterFromName(config.Name)
	case member.Join:
		return j.join(ctx, config)
	case member.StartAlone:
		klog.InfoS("The loss of the quorum is accepted: this member goes on alone, and all others are removed from its cluster; start it without --accept-quorum-loss next time", "member", config.Name)
		config.ForceNewCluster = true
	}
	if err := j.start(config); err != nil {
		return err
	}
	return j.serve(ctx, action == member.Found)
}

// join adds this member to the cluster and starts it. Another member may join in the same moment: then etcd finds a
// list of members which is not the one that it was started with, and the next attempt has the right one.
func (j *joining) join(ctx context.Context, config *embed.Config) error {
	all, err := j.Peers.Enter(ctx)
	if err != nil {
		return err
	}
	config.ClusterState = embed.ClusterStateFlagExisting
	for attempt := 0; ; attempt++ {
		if err := j.disk.Clear(); err != nil {
			return err
		}
		config.InitialCluster = j.Peers.InitialCluster(all)
		if err = j.start(config); err == nil {
			return j.serve(ctx, false)
		}
		if content, _, lookErr := j.disk.Look(); lookErr != nil || content != member.Empty || attempt == 5 {
			return errors.Join(err, lookErr)
		}
		if all, err = j.Peers.Members(ctx); err != nil {
			return err
		}
	}
}

// serve waits until etcd, which was started, serves as a voter under its address. founded says that the cluster is new.
func (j *joining) serve(ctx context.Context, founded bool) error {
	if err := j.waitReady(ctx); err != nil {
		return err
	}
	if founded {
		if err := j.disk.Founded(); err != nil {
			return err
		}
	}
	if err := j.promote(ctx); err != nil {
		return err
	}
	return j.announce(ctx)
}

// promote makes this member a voter, if it is a learner.
func (j *joining) promote(ctx context.Context) error {
	id := uint64(j.etcd.Server.MemberID())
	for j.etcd.Server.IsLearner() {
		all, err := j.Peers.Members(ctx)
		if err == nil && member.MayPromote(all, len(j.Peers.Others)+1) {
			err = j.Peers.Promote(ctx, id)
		}
		if err != nil {
			klog.V(2).InfoS("This member is still a learner", "member", j.Peers.Self.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-j.etcd.Server.StopNotify():
			return errStopped
		case <-time.After(wait.Jitter(memberRetry/2, 1)):
		}
	}
	return nil
}

// announce makes the cluster know this member by its address: a server that was alone has none that others could reach.
func (j *joining) announce(ctx context.Context) error {
	client, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: j.Endpoints()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, etcdReadyTimeout)
	defer cancel()
	id := uint64(j.etcd.Server.MemberID())
	known := j.etcd.Server.Cluster().Member(j.etcd.Server.MemberID())
	if known != nil && len(known.PeerURLs) == 1 && known.PeerURLs[0] == j.Peers.Self.PeerURL {
		return nil
	}
	_, err = client.MemberUpdate(clientv3.WithRequireLeader(ctx), id, []string{j.Peers.Self.PeerURL})
	return err
}

func (j *joining) config() *embed.Config {
	config := etcdConfig(j.etcdDir(), j.socket)
	self := j.Peers.Self
	config.Name = self.Name
	peer, client := mustURL(self.PeerURL), mustURL(self.ClientURL)
	listen := func(u url.URL) url.URL {
		u.Host = net.JoinHostPort(j.BindAddress.String(), u.Port())
		return u
	}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{listen(peer)}, []url.URL{peer}
	config.ListenClientUrls, config.AdvertiseClientUrls = append(config.ListenClientUrls, listen(client)), []url.URL{client}
	config.PeerTLSInfo, config.ClientTLSInfo = j.Peers.TLS, j.Peers.TLS
	config.TickMs, config.ElectionMs = uint(memberTick.Milliseconds()), uint(memberElection.Milliseconds())
	config.MaxLearners = max(1, len(j.Peers.Others))
	return config
}

// memberURL is where a port of a member is.
func memberURL(host string, port int) string {
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port))}).String()
}

// mustURL parses what memberURL has made.
func mustURL(text string) url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return *u
}

// HandOver gives the leadership among members to another one, if this one has it, so that nobody has to wait for an
// election when it stops.
func (e *EmbeddedEtcd) HandOver() {
	if err := e.etcd.Server.TryTransferLeadershipOnShutdown(); err != nil {
		klog.InfoS("The leadership of etcd could not be handed over: the others will elect a leader when this one is gone", "err", err)
	}
}
