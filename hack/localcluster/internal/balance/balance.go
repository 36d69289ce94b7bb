// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package balance forwards TCP connections to the first of several backends that answers: what a
// Service does for replicas in a real cluster, as far as a failover test needs it. It imports only
// the standard library.
package balance

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"sync"
	"time"
)

// dialTimeout is how long a backend may take to accept; on one machine it does so or refuses at once.
const dialTimeout = time.Second

// Serve accepts connections until the context ends, and gives each to the first backend that accepts
// it. A connection whose backend dies ends with it; the client dials again and gets to the next.
func Serve(ctx context.Context, listener net.Listener, backends []string) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	for {
		client, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go forward(ctx, client, backends)
	}
}

func forward(ctx context.Context, client net.Conn, backends []string) {
	defer client.Close()
	server, err := dial(ctx, backends)
	if err != nil {
		log.Printf("no backend accepts: %v", err)
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pump(server, client) })
	both.Go(func() { pump(client, server) })
	both.Wait()
}

func dial(ctx context.Context, backends []string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	var failures error
	for _, backend := range backends {
		connection, err := dialer.DialContext(ctx, "tcp", backend)
		if err == nil {
			return connection, nil
		}
		failures = errors.Join(failures, err)
	}
	return nil, failures
}

// pump copies until the source ends, and hands that end on. A reset of either side ends both.
func pump(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = errors.Join(to.Close(), from.Close())
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
