// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernelNetwork are values of the network namespace. Answers of pods on the bridge must be seen by the rules of
// Services, and many short connections need many ports.
var kernelNetwork = map[string]string{
	"net/ipv4/ip_forward":                "1",
	"net/ipv4/ip_local_port_range":       "1024 65535",
	"net/bridge/bridge-nf-call-iptables": "1",
}

// network makes the interface that the node has its address on: one end of a pair whose other end is here too.
// The route is needed for the node itself to reach Services, whose rules see only what has a route.
func (s Sandbox) network() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "node0"}, PeerName: "node1"}
	if err := errors.Join(netlink.LinkSetUp(loopback), netlink.LinkAdd(pair)); err != nil {
		return fmt.Errorf("the interface of the node: %w", err)
	}
	node, err := netlink.LinkByName("node0")
	if err != nil {
		return err
	}
	peer, err := netlink.LinkByName("node1")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeNetwork)
	if err != nil {
		return err
	}
	services, err := netlink.ParseIPNet(serviceNetwork)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(node, address), netlink.LinkSetUp(node), netlink.LinkSetUp(peer)); err != nil {
		return fmt.Errorf("the address of the node: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: node.Attrs().Index, Dst: services, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("the route to Services: %w", err)
	}
	for name, value := range kernelNetwork {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Dialer connects to addresses in the network of a sandbox, from outside. A socket belongs to the namespace that
// its thread is in when it is made, so that only the dial is done there. Addresses must be literal: names are
// looked up by other threads.
type Dialer struct {
	// PID is the first process of the sandbox.
	PID int
	// Timeout bounds one dial; 0 is 3 s.
	Timeout time.Duration
}

// DialContext connects.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", d.PID))
	if err != nil {
		return nil, fmt.Errorf("the sandbox is gone: %w", err)
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("entering the network of the sandbox: %w", err)
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = 3 * time.Second
	}
	connection, dialed := (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, address)
	if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked, so that it ends with its goroutine rather than serve another one.
		return nil, errors.Join(err, dialed)
	}
	runtime.UnlockOSThread()
	return connection, dialed
}
