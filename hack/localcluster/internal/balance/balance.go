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
)

// Dial connects to a backend.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Serve accepts connections until the context ends, and gives each to the first backend that accepts
// it. A connection whose backend dies ends with it; the client dials again and gets to the next.
func Serve(ctx context.Context, listener net.Listener, backends []string, dial Dial) error {
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
		go forward(ctx, client, backends, dial)
	}
}

func forward(ctx context.Context, client net.Conn, backends []string, dial Dial) {
	defer client.Close()
	server, err := first(ctx, backends, dial)
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

// first connects to the first backend that accepts.
func first(ctx context.Context, backends []string, dial Dial) (net.Conn, error) {
	var failures error
	for _, backend := range backends {
		connection, err := dial(ctx, "tcp", backend)
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
