// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouttree

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// origins is how many servers can be told apart by the versions that they give out.
const origins = 1024

// counter gives out resourceVersions: they count changes of trees, from the time at which the server began, so that
// they rise over restarts. Their last digits tell which server they are of, since no two count the same changes.
type counter struct {
	origin uint64
	now    uint64
}

func newCounter(began time.Time) *counter {
	return &counter{origin: rand.Uint64N(origins), now: uint64(began.UnixMicro())}
}

// next is the version of one more change.
func (c *counter) next() uint64 {
	c.now++
	return c.now
}

func (c *counter) format(version uint64) string {
	return strconv.FormatUint(version*origins+c.origin, 10)
}

// parse reads a version; false if it is none that this server has given out.
func (c *counter) parse(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n%origins != c.origin || n/origins > c.now {
		return 0, false
	}
	return n / origins, true
}
