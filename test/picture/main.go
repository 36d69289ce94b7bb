// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Command picture plays the guide on a real node under constant load, records who answered, and draws it:
// docs/images/guide.json and docs/images/guide.svg. With --redraw it draws what was recorded before. It is run by
// "make picture", and may import test/cluster and clients.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"sluice.dev/sluice/test/cluster"
)

func main() {
	redraw := flag.Bool("redraw", false, "draw what was recorded before")
	dir := flag.String("dir", "", "folder of a control plane with a real node that is up already (default: one is started for this, and stopped)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *redraw); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, redraw bool) error {
	repository, err := cluster.Repository()
	if err != nil {
		return err
	}
	folder := filepath.Join(repository, "docs", "images")
	recorded := filepath.Join(folder, "guide.json")
	if !redraw {
		r, err := record(ctx, dir)
		if err != nil {
			return err
		}
		if err := r.flawless(); err != nil {
			return err
		}
		content, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(recorded, append(content, '\n'), 0o644); err != nil {
			return err
		}
	}
	picture, err := drawn(recorded)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "guide.svg"), picture, 0o644)
}

// drawn is the picture of a recording in a file.
func drawn(recorded string) ([]byte, error) {
	content, err := os.ReadFile(recorded)
	if err != nil {
		return nil, err
	}
	var r recording
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, err
	}
	var picture bytes.Buffer
	err = r.draw(&picture)
	return picture.Bytes(), err
}
