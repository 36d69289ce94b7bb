// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
)

// Whoever looks after the volume is told once that it runs full, and again if it had room meanwhile.
func TestAVolumeThatRunsFullIsWarnedOf(t *testing.T) {
	defer klog.CaptureState().Restore()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	var log bytes.Buffer
	klog.SetOutputBySeverity("WARNING", &log)
	s := &Schedule{Dir: t.TempDir(), Clock: clocktesting.NewFakeClock(time.Now())}
	small, huge := []File{{Size: 1}}, []File{{Size: 1}, {Size: math.MaxInt64 / roomFor}}
	for _, step := range []struct {
		rule     string
		files    []File
		warnings int
	}{
		{"no snapshot yet", nil, 0},
		{"room for two more", small, 0},
		{"no room for two more of the newest", huge, 1},
		{"that was said", huge, 1},
		{"room again", small, 1},
		{"none again", huge, 2},
	} {
		s.publish(step.files)
		klog.Flush()
		if got := strings.Count(log.String(), "Snapshots in "+s.Dir+" may fail soon: the volume is nearly full"); got != step.warnings {
			t.Errorf("%s: warned %d times, want %d:\n%s", step.rule, got, step.warnings, log.String())
		}
	}
}
