// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pause is the first process of a pod: it holds what the containers of the pod share, and does nothing
// until the pod ends. Where they share process ids it also collects those that nobody waits for.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
