// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// Calls are many requests that several clients have sent at the same time, each client one after the other.
type Calls struct {
	// Duration is from the first request to the last answer, Each how long each of them took.
	Duration time.Duration
	Each     []time.Duration
	// CPU is what each process used in that time.
	CPU plane.CPU
	// Counts are the writes, by whomever.
	Counts Counts
	// Failures is how many answers had a code of 5xx, also those after which a client tried again by itself.
	Failures int
}

// PerSecond is the throughput.
func (c Calls) PerSecond() float64 { return float64(len(c.Each)) / c.Duration.Seconds() }

// callers are clients with a connection each, whose answers are looked at.
type callers struct {
	clients  []*Clients
	failures atomic.Int64
}

func (c *Clients) newCallers(count int) (*callers, error) {
	all := &callers{}
	for range count {
		config := rest.CopyConfig(c.config)
		// Clients with the same configuration would share a connection; a dialer of its own is what tells it apart.
		config.Dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &watched{next: next, failures: &all.failures} })
		client, err := NewClients(config)
		if err != nil {
			return nil, err
		}
		all.clients = append(all.clients, client)
	}
	return all, nil
}

// watched counts answers that tell of a failure of the server.
type watched struct {
	next     http.RoundTripper
	failures *atomic.Int64
}

// RoundTrip sends a request.
func (w *watched) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err == nil && response.StatusCode >= http.StatusInternalServerError {
		w.failures.Add(1)
	}
	return response, err
}

// call has each client make its share of the calls, as fast as it can.
func (c *callers) call(ctx context.Context, count int, act func(ctx context.Context, client *Clients, i int) error) (Calls, error) {
	// Connections are made before the time is taken.
	for _, client := range c.clients {
		if _, err := client.host.Discovery().ServerVersion(); err != nil {
			return Calls{}, err
		}
		if _, err := client.rollouts.Discovery().ServerVersion(); err != nil {
			return Calls{}, err
		}
	}
	c.failures.Store(0)
	calls := Calls{Each: make([]time.Duration, count)}
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for first, client := range c.clients {
		group.Go(func() error {
			for i := first; i < count; i += len(c.clients) {
				began := time.Now()
				if err := act(ctx, client, i); err != nil {
					return err
				}
				calls.Each[i] = time.Since(began)
			}
			return nil
		})
	}
	err := group.Wait()
	calls.Duration, calls.Failures = time.Since(start), int(c.failures.Load())
	return calls, err
}
