// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/test/benchmark/internal/plane"
)

// eventWindow is a little longer than Sluice gathers events of one kind before it writes those that
// followed the first as one. After that long nothing of an earlier act is left to be written, so that
// what is counted belongs to the update.
const eventWindow = 32 * time.Second

// settle is how long after the last pod was gone the processors are still counted: the controllers then
// take notice of that.
const settle = time.Second

// senders is how many updates are sent at the same time.
const senders = 10

// Scenario is the work of one measurement.
type Scenario struct {
	// Namespace is created for it, and deleted afterwards.
	Namespace string
	// Workloads is how many there are, Replicas how many pods each of them has.
	Workloads, Replicas int
	// Profile is the file that a CPU profile of Sluice during the update goes to; empty for none.
	Profile string
	// Warm leaves out the waits for late events, because nothing is measured.
	Warm bool
}

// Update is what one update of all workloads took.
type Update struct {
	// Duration is from sending the first update until the last workload was seen to have completed.
	Duration time.Duration
	// CPU is what each process used in that time, until the replaced pods were gone.
	CPU plane.CPU
	// Idle is what all processes together use per second while nothing is asked of them.
	Idle float64
	// Late is what all processes together used in the time after that in which late events are written,
	// above Idle.
	Late time.Duration
	// Counts are the writes, from the update until late events were written.
	Counts Counts
}

// Update creates workloads, waits until they stand still, and measures one update of all of them.
func (c *Clients) Update(ctx context.Context, p *plane.Plane, kind Kind, s Scenario) (Update, error) {
	var result Update
	err := c.withNamespace(ctx, s.Namespace, func(namespace string) error {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		tracker, err := s.create(ctx, watching, kind)
		if err != nil {
			return err
		}
		m := measurement{Clients: c, plane: p, kind: kind, scenario: s, tracker: tracker}
		result, err = m.run(ctx)
		return err
	})
	if err != nil {
		return Update{}, fmt.Errorf("updating %s: %w", kind.Resource, err)
	}
	return result, nil
}

// create creates the workloads and waits until they stand still. They are watched as long as watching lasts.
func (s Scenario) create(ctx, watching context.Context, kind Kind) (*tracker, error) {
	tracker, err := track(watching, kind, s.Namespace)
	if err != nil {
		return nil, err
	}
	if err := s.forEach(ctx, func(ctx context.Context, name string) error {
		return kind.create(ctx, s.Namespace, name, int32(s.Replicas))
	}); err != nil {
		return nil, err
	}
	_, err = tracker.waitAll(ctx, s.Workloads, complete(firstImage))
	return tracker, err
}

// name is the name of a workload.
func (s Scenario) name(i int) string { return fmt.Sprintf("workload-%03d", i) }

// forEach does something to every workload, as many at a time as there are senders.
func (s Scenario) forEach(ctx context.Context, act func(ctx context.Context, name string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(senders)
	for i := range s.Workloads {
		group.Go(func() error { return act(ctx, s.name(i)) })
	}
	return group.Wait()
}

// measurement is one update of workloads that exist.
type measurement struct {
	*Clients
	plane    *plane.Plane
	kind     Kind
	scenario Scenario
	tracker  *tracker
}

func (m measurement) run(ctx context.Context) (result Update, err error) {
	if m.scenario.Warm {
		_, err := m.update(ctx)
		return Update{}, err
	}
	if result.Idle, err = m.idle(ctx); err != nil {
		return result, err
	}
	// What costs the processes something, as their metrics do, is read outside the time that is measured.
	countedBefore, err := read(ctx, m.plane)
	if err != nil {
		return result, err
	}
	usedBefore, err := m.plane.CPU()
	if err != nil {
		return result, err
	}
	if result.Duration, err = m.update(ctx); err != nil {
		return result, err
	}
	if err := pause(ctx, settle); err != nil {
		return result, err
	}
	used, err := m.plane.CPU()
	if err != nil {
		return result, err
	}
	result.CPU = used.Since(usedBefore)
	if err := pause(ctx, eventWindow); err != nil {
		return result, err
	}
	usedLate, err := m.plane.CPU()
	if err != nil {
		return result, err
	}
	result.Late = usedLate.Since(used).Total() - time.Duration(result.Idle*float64(eventWindow))
	countedAfter, err := read(ctx, m.plane)
	if err != nil {
		return result, err
	}
	result.Counts = counts(m.kind, countedBefore, countedAfter)
	return result, nil
}

// idle waits until nothing of the creation is left to be done, and returns what the processes use per
// second from then on.
func (m measurement) idle(ctx context.Context) (perSecond float64, err error) {
	if err := pause(ctx, eventWindow); err != nil {
		return 0, err
	}
	const span = 5 * time.Second
	before, err := m.plane.CPU()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, span); err != nil {
		return 0, err
	}
	after, err := m.plane.CPU()
	return after.Since(before).Total().Seconds() / span.Seconds(), err
}

// update updates all workloads and waits until the last one has completed and the replaced pods are gone.
// The time is that until the former.
func (m measurement) update(ctx context.Context) (time.Duration, error) {
	const image = "benchmark:1"
	patch := imagePatch(image)
	group, inner := errgroup.WithContext(ctx)
	start := time.Now()
	var end time.Time
	group.Go(func() error {
		return m.scenario.forEach(inner, func(ctx context.Context, name string) error {
			return m.kind.patch(ctx, m.scenario.Namespace, name, patch)
		})
	})
	group.Go(func() (err error) {
		end, err = m.tracker.waitAll(inner, m.scenario.Workloads, complete(image))
		if err != nil {
			return err
		}
		return m.waitPods(inner, m.scenario.Namespace, m.scenario.Workloads*m.scenario.Replicas)
	})
	if m.scenario.Profile != "" {
		group.Go(func() error { return m.plane.Profile(inner, profileLength, m.scenario.Profile) })
	}
	err := group.Wait()
	return end.Sub(start), err
}

// profileLength covers most of an update of the default scenario.
const profileLength = 20 * time.Second
