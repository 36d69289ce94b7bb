// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/generated/clientset/versioned"
)

// LeaseName is the name of the Lease, in the server's own namespace of the host cluster, that the
// leader of all replicas holds.
const LeaseName = "sluice-controller"

// The defaults of LeaderElection. A follower polls the Lease every RetryPeriod, stretched by a
// jitter of up to 2.2 times; so a leader that dies without a word is replaced after at most
// LeaseDuration + 2 x 2.2 x RetryPeriod, which is below 5 s.
const (
	DefaultLeaseDuration = 3 * time.Second
	DefaultRenewDeadline = 2 * time.Second
	DefaultRetryPeriod   = 400 * time.Millisecond
	// DefaultWorkers is how many Rollouts are reconciled at once.
	DefaultWorkers = 8
)

// LeaderElection are the times of the Lease. Fields that are 0 take their defaults.
type LeaderElection struct {
	// LeaseDuration is how long a follower waits for a sign of life before it takes over. The Lease
	// keeps it in whole seconds.
	LeaseDuration time.Duration
	// RenewDeadline is how long a leader that cannot renew goes on before it stops. It must be below
	// LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is the time between two attempts to take or to renew the Lease. 1.2 times this must
	// be below RenewDeadline.
	RetryPeriod time.Duration
}

// Config is what a Controller needs. Rollouts, Host and Namespace are required.
type Config struct {
	// Rollouts reads and writes Rollouts: a loopback client of this very server, without a client
	// side throttle, so that the controller works even while the host cannot reach the server.
	Rollouts versioned.Interface
	// Host reads and writes ReplicaSets, pods, Services, Events and the Lease. Its throttle must be off (QPS -1): the
	// host's priority and fairness does that better.
	Host kubernetes.Interface
	// Namespace of the host cluster in which the Lease lives.
	Namespace string
	// Identity names this replica in the Lease. Default: the host name and a random UUID.
	Identity string
	// LeaderElection are the times of the Lease.
	LeaderElection LeaderElection
	// Workers is how many Rollouts are reconciled at once. Default DefaultWorkers.
	Workers int
	// Clock is the time that decisions are made by. Default: the real one.
	Clock clock.WithTicker
	// EnsureMirrored returns once the mark by which an older copy of the store would be noticed is at
	// least resourceVersion. It is called before a ReplicaSet is created or adopted, so that no ReplicaSet can
	// exist that a store which is let in has never heard of. nil means that there is no such mark,
	// as in tests.
	EnsureMirrored func(ctx context.Context, resourceVersion uint64) error
	// NoteMirrored does the same soon, without being waited for. It is called before ReplicaSets are
	// scaled or deleted. nil as above.
	NoteMirrored func(resourceVersion uint64)
	// TracerProvider makes the spans of decisions. nil means that there are none.
	TracerProvider trace.TracerProvider
	// Origin returns the trace of the request that led to a state of a Rollout; an invalid one if that is not known. nil
	// means that none is.
	Origin func(OriginKey) trace.SpanContext
	// Resign is closed when this replica must not lead any more; its caches are kept until it ends, since
	// they are read by others. nil means never.
	Resign <-chan struct{}
	// Changed is told of every Rollout of which anything has changed in the caches: itself, its ReplicaSets,
	// its pods or its Services. It is called in a handler of an informer, so it must not block. nil if nobody wants to know.
	Changed func(types.NamespacedName)
}

// complete returns the configuration with its defaults, or an error that names the field to mend.
func (c Config) complete() (Config, error) {
	var errs []error
	if c.Rollouts == nil {
		errs = append(errs, errors.New("the controller needs a client for Rollouts: set Config.Rollouts"))
	}
	if c.Host == nil {
		errs = append(errs, errors.New("the controller needs a client for the host cluster: set Config.Host"))
	}
	if c.Namespace == "" {
		errs = append(errs, errors.New("the controller needs a namespace for its Lease: set Config.Namespace"))
	}
	if c.Workers < 0 {
		errs = append(errs, fmt.Errorf("the number of workers must not be negative, but is %d", c.Workers))
	}
	if c.Workers == 0 {
		c.Workers = DefaultWorkers
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Identity == "" {
		hostname, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("the host name, which goes into the identity in the Lease, is unknown: %w", err))
		}
		c.Identity = hostname + "_" + string(uuid.NewUUID())
	}
	if c.EnsureMirrored == nil {
		c.EnsureMirrored = func(context.Context, uint64) error { return nil }
	}
	if c.NoteMirrored == nil {
		c.NoteMirrored = func(uint64) {}
	}
	if c.TracerProvider == nil {
		c.TracerProvider = noop.NewTracerProvider()
	}
	if c.Origin == nil {
		c.Origin = func(OriginKey) trace.SpanContext { return trace.SpanContext{} }
	}
	if c.Changed == nil {
		c.Changed = func(types.NamespacedName) {}
	}
	var err error
	if c.LeaderElection, err = c.LeaderElection.complete(); err != nil {
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// complete returns the times with their defaults, or an error that names the one to mend.
func (l LeaderElection) complete() (LeaderElection, error) {
	if l.LeaseDuration == 0 {
		l.LeaseDuration = DefaultLeaseDuration
	}
	if l.RenewDeadline == 0 {
		l.RenewDeadline = DefaultRenewDeadline
	}
	if l.RetryPeriod == 0 {
		l.RetryPeriod = DefaultRetryPeriod
	}
	switch {
	case l.LeaseDuration < time.Second:
		return l, fmt.Errorf("the lease duration must be at least 1s, the unit in which the Lease keeps it, but is %v", l.LeaseDuration)
	case l.LeaseDuration <= l.RenewDeadline:
		return l, fmt.Errorf("the lease duration (%v) must be longer than the renew deadline (%v), or two leaders could act at once", l.LeaseDuration, l.RenewDeadline)
	case l.RetryPeriod <= 0:
		return l, fmt.Errorf("the retry period must be positive, but is %v", l.RetryPeriod)
	case l.RenewDeadline <= time.Duration(leaderelection.JitterFactor*float64(l.RetryPeriod)):
		return l, fmt.Errorf("the renew deadline (%v) must be longer than %v times the retry period (%v), or the leader may never get to renew", l.RenewDeadline, leaderelection.JitterFactor, l.RetryPeriod)
	}
	return l, nil
}
