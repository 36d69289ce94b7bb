// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package sandbox

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

var errNotLinux = errors.New("a real node needs Linux")

// capable is false: there are no namespaces.
func capable() bool { return false }

// ownControllers fails.
func ownControllers() ([]string, error) { return nil, errNotLinux }

// Attributes start a process as any other.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Run fails.
func (Sandbox) Run() error { return errNotLinux }

// Enter fails.
func Enter(string, int, string, []string) (int, error) { return 0, errNotLinux }

// Become fails.
func Become(string, []string) error { return errNotLinux }

// RemoveCgroups does nothing: there are none.
func RemoveCgroups(string, time.Duration) error { return nil }

// Dialer connects to addresses in the network of a sandbox, from outside.
type Dialer struct {
	// PID is the first process of the sandbox.
	PID int
	// Timeout bounds one dial.
	Timeout time.Duration
}

// DialContext fails.
func (Dialer) DialContext(context.Context, string, string) (net.Conn, error) { return nil, errNotLinux }
