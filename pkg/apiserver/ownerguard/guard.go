// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/engine"
)

// Config is what a Guard needs.
type Config struct {
	// Gate is opened by the guard, and closed again if the store turns out to be another one.
	Gate *Gate
	// Store is our record in etcd.
	Store *Store
	// Host is the host cluster.
	Host *Host
	// LiveRollouts returns every Rollout in the store, by UID, as namespace/name. It reads the store
	// as it is now and does not pass the gate.
	LiveRollouts func(context.Context) (map[types.UID]string, error)
	// AcceptDataLoss makes the guard accept, once in the life of the process, a store that it would
	// refuse: it detaches the ReplicaSets of missing Rollouts and gives the store a new identity.
	AcceptDataLoss bool
	// Clustered says that the store is a cluster, whose members may be too few to decide anything: the gate is closed
	// while they are.
	Clustered bool
	// Replaced is told ErrStoreReplaced, and has to end the process: the gate stays closed from then on.
	// Nil if nobody wants to know.
	Replaced func(error)
}

const (
	// firstRetry and lastRetry bound how long the guard waits before it judges again.
	firstRetry, lastRetry = 200 * time.Millisecond, 5 * time.Second
	// storeRecheck and hostRecheck are how often an open guard reads the records again.
	storeRecheck, hostRecheck = time.Second, time.Minute
	// judgeTimeout is how long one judgement may take: a large cluster has many ReplicaSets to be listed.
	judgeTimeout = time.Minute
)

// Guard decides whether the store may answer, opens the gate, and keeps watching the records: an
// external etcd may be replaced under a running server.
type Guard struct {
	Config
	mirror     *Mirror
	tombstones *Tombstones
	// refused is the store that was refused last; nil if none was.
	refused *state
	// reach is whether the store answers at all.
	reach reach
}

// New returns a guard. Its gate stays closed until Run has judged the store.
func New(c Config) *Guard {
	g := &Guard{Config: c, mirror: newMirror(c.Store, c.Host, c.Gate), tombstones: NewTombstones(c.Store)}
	g.tombstones.noted = g.mirror.Note
	return g
}

// Mirror is how the controller makes sure that what it acts upon will be remembered.
func (g *Guard) Mirror() *Mirror { return g.mirror }

// Tombstones is where the registry remembers deletions.
func (g *Guard) Tombstones() *Tombstones { return g.tombstones }

// Run judges the store until it may answer, and watches it from then on, until ctx ends. While the
// host cannot be reached, or the store is refused, it judges again every few seconds, so that whatever
// an operator repairs takes effect without a restart.
func (g *Guard) Run(ctx context.Context) {
	registerMetrics()
	setVerdict(verdictUnknown)
	go g.mirror.run(ctx)
	if g.Clustered {
		go g.reach.watch(ctx, func(ctx context.Context) error {
			_, err := g.Store.read(ctx)
			return err
		}, g.Gate.Close)
	}
	for ctx.Err() == nil {
		g.judgeUntilServed(ctx)
		g.watchRecords(ctx)
	}
}

func (g *Guard) judgeUntilServed(ctx context.Context) {
	backoff := wait.Backoff{Duration: firstRetry, Factor: 2, Cap: lastRetry, Steps: 32}
	last := ""
	for ctx.Err() == nil {
		g.reach.wait(ctx)
		message := ""
		bounded, cancel := context.WithTimeout(ctx, judgeTimeout)
		verdict, err := g.judge(bounded)
		cancel()
		switch {
		case errors.Is(err, ErrStoreReplaced):
			setVerdict(verdictRefused)
			message = err.Error()
			if g.Replaced != nil {
				g.Replaced(err)
			}
		case err != nil:
			setVerdict(verdictUnknown)
			message = fmt.Sprintf("it is not certain that the store is complete: %v", err)
		case verdict.Serve:
			klog.InfoS("The store is the one that the host cluster knows: requests are answered from now on")
			setVerdict(verdictAccepted)
			g.Gate.Open()
			return
		default:
			setVerdict(verdictRefused)
			message = verdict.Message()
		}
		g.Gate.Close(message)
		if message != last {
			klog.ErrorS(errors.New(message), "The owner guard keeps the API closed")
			last = message
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Step()):
		}
	}
}

// records reads both records. The host comes first: the store is never behind it, so what is read
// later from the right store is at least as high.
func (g *Guard) records(ctx context.Context) (state, *corev1.ConfigMap, engine.StoreEvidence, error) {
	cm, mirrored, err := g.Host.record(ctx)
	if err != nil {
		return state{}, nil, engine.StoreEvidence{}, err
	}
	stored, err := g.Store.read(ctx)
	return stored, cm, engine.StoreEvidence{Store: stored.record, Mirror: mirrored}, err
}

// judge judges once. If the verdict is to serve, both records are written and the mirror is ready.
func (g *Guard) judge(ctx context.Context) (engine.StoreVerdict, error) {
	stored, cm, evidence, err := g.records(ctx)
	if err != nil {
		return engine.StoreVerdict{}, err
	}
	verdict := engine.JudgeStore(evidence)
	if verdict.Look {
		if err := g.look(ctx, &evidence); err != nil {
			return verdict, err
		}
		verdict = engine.JudgeStore(evidence)
	}
	switch {
	case verdict.Serve && g.refused != nil && !sameRecord(g.refused.record, stored.record):
		g.Store.replaced.Store(true)
		return engine.StoreVerdict{}, ErrStoreReplaced
	case verdict.Serve && !verdict.Record:
		g.mirror.adopt(*evidence.Mirror, cm)
		return verdict, nil
	case verdict.Serve:
		return verdict, g.record(ctx, stored, cm, evidence.Store)
	case g.AcceptDataLoss:
		return g.acceptDataLoss(ctx, stored, cm, verdict)
	}
	g.refused = &stored
	return verdict, nil
}

// Judge judges the store as it is now, and changes nothing. Missing Rollouts are named in the verdict.
func (g *Guard) Judge(ctx context.Context) (engine.StoreVerdict, error) {
	_, _, evidence, err := g.records(ctx)
	if err != nil {
		return engine.StoreVerdict{}, err
	}
	verdict := engine.JudgeStore(evidence)
	if !verdict.Look {
		return verdict, nil
	}
	if err := g.look(ctx, &evidence); err != nil {
		return verdict, err
	}
	return engine.JudgeStore(evidence), nil
}

// Accept makes the store the one that the host knows, whatever it lacks: by a new identity in both records. A server that
// runs on it and has refused it ends with ErrStoreReplaced.
func (g *Guard) Accept(ctx context.Context) error {
	stored, cm, _, err := g.records(ctx)
	if err != nil {
		return err
	}
	return g.record(ctx, stored, cm, nil)
}

// sameRecord tells whether a store that was refused is the one that is right now: then the host was
// repaired. Otherwise the right store was put in the place of the one that this process has read.
func sameRecord(a, b *engine.StoreRecord) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// look completes the evidence. The store is read after the host: a Rollout is stored before its
// ReplicaSets exist, so what is seen in the host and is not in the store afterwards is missing.
func (g *Guard) look(ctx context.Context, e *engine.StoreEvidence) error {
	var err error
	if e.Owners, err = g.Host.owners(ctx); err != nil {
		return err
	}
	if e.Live, err = g.LiveRollouts(ctx); err != nil {
		return fmt.Errorf("listing the Rollouts in the store: %w", err)
	}
	if e.Buried, err = g.tombstones.all(ctx); err != nil {
		return err
	}
	e.HostSeen = true
	return nil
}

// record writes both records; the store gets a new identity unless it is to keep the one given.
func (g *Guard) record(ctx context.Context, stored state, cm *corev1.ConfigMap, keep *engine.StoreRecord) error {
	if keep == nil {
		r, err := g.Store.rename(ctx, stored)
		if err != nil {
			return err
		}
		keep = &r
	}
	written, err := g.Host.write(ctx, cm, *keep)
	if err != nil {
		return fmt.Errorf("recording the identity of the store in the host cluster: %w", err)
	}
	g.mirror.adopt(*keep, written)
	klog.InfoS("Recorded the identity of the store in the host cluster", "identity", keep.Identity, "revision", keep.Revision)
	return nil
}

// acceptDataLoss detaches what is missing, sees that it is detached, and makes the store the right
// one. It asks for nothing to be deleted: the pods of a missing Rollout go on running.
func (g *Guard) acceptDataLoss(ctx context.Context, stored state, cm *corev1.ConfigMap, refused engine.StoreVerdict) (engine.StoreVerdict, error) {
	dead := make(map[types.UID]bool, len(refused.Missing))
	for _, o := range refused.Missing {
		dead[o.UID] = true
		klog.InfoS("Data loss is accepted: detaching the ReplicaSets of a missing Rollout", "namespace", o.Namespace, "rollout", o.Name, "uid", o.UID, "replicaSets", o.ReplicaSets)
	}
	for len(dead) > 0 {
		left, err := g.Host.detach(ctx, dead)
		if err != nil {
			return refused, err
		}
		if left == 0 {
			break
		}
	}
	if err := g.record(ctx, stored, cm, nil); err != nil {
		return refused, err
	}
	klog.InfoS("Data loss was accepted; start the server without --accept-data-loss next time", "because", refused.Reason, "missingRollouts", len(refused.Missing))
	g.AcceptDataLoss = false
	return engine.StoreVerdict{Serve: true}, nil
}

// watchRecords returns when the gate has to be judged anew: because the store or the host is not the
// one any more for which it was opened, or because somebody closed it. A record that was deleted from
// the host is written again.
func (g *Guard) watchRecords(ctx context.Context) {
	ctx, err := g.Gate.WaitOpen(ctx)
	if err != nil {
		return
	}
	ticker := time.NewTicker(storeRecheck)
	defer ticker.Stop()
	lastHost := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		withHost := time.Since(lastHost) >= hostRecheck
		if withHost {
			lastHost = time.Now()
		}
		// A host that hangs must not keep the store from being looked at.
		bounded, cancel := context.WithTimeout(ctx, raiseTimeout)
		err := g.mirror.verify(bounded, withHost)
		cancel()
		if err != nil && ctx.Err() == nil {
			klog.V(2).InfoS("Could not compare the records of the store", "err", err)
		}
	}
}
