// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package contest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	sluiceclient "sluice.dev/sluice/pkg/generated/clientset/versioned/typed/rollouts/v1alpha1"
	"sluice.dev/sluice/test/cluster"
)

const (
	// Callers is how many promote at the same moment.
	Callers = 100
	// patience is how long anything may take.
	patience = time.Minute
)

// Contest is one Rollout that is promoted round by round.
type Contest struct {
	client sluiceclient.RolloutInterface
	name   string
	random *rand.Rand
	// update is the update in flight, updates how many there were.
	update  plan
	updates int
	rounds  int
}

// Round is what one round was about, and how long it took.
type Round struct {
	// Step is the step that everybody expected, State what the Rollout waited for there.
	Step  int32
	State string
	// Winner is how long the one that succeeded waited for its reply, All how long it took to answer everybody.
	Winner, All time.Duration
}

// New creates the Rollout of a contest and waits until it is Healthy. What is random follows from the seed.
func New(ctx context.Context, client sluiceclient.RolloutInterface, name string, seed uint64) (*Contest, error) {
	c := &Contest{client: client, name: name, random: rand.New(rand.NewPCG(seed, 0))}
	if _, err := client.Create(ctx, rollout(name), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	_, err := c.await(ctx, func(r *v1alpha1.Rollout) bool {
		return observed(r) && r.Status.Phase == v1alpha1.RolloutPhaseHealthy
	})
	return c, err
}

// Round has everybody promote at once. The error tells how the answers, or what is stored, break the promise.
func (c *Contest) Round(ctx context.Context) (Round, error) {
	r, err := c.atRest(ctx)
	if err != nil {
		return Round{}, err
	}
	c.rounds++
	round := Round{Step: ptr.Deref(r.Status.CurrentStepIndex, -1)}
	round.State = c.update.rest(round.Step)
	reason := fmt.Sprintf("round %d", c.rounds)
	began := time.Now()
	answers := c.promoteAtOnce(ctx, round.Step, reason)
	round.All = time.Since(began)
	if round.Winner, err = judge(round.Step, answers); err == nil {
		err = c.judgeStored(ctx, round.Step, reason)
	}
	if err != nil {
		return round, fmt.Errorf("%s, %s at step %d of %d: %w", reason, round.State, round.Step, len(c.update.steps), err)
	}
	return round, nil
}

// atRest waits until the Rollout waits for somebody, and starts another update if there is nothing left of the last.
func (c *Contest) atRest(ctx context.Context) (*v1alpha1.Rollout, error) {
	for {
		var r *v1alpha1.Rollout
		if c.updates > 0 {
			var err error
			if r, err = c.await(ctx, c.restsOrEnds); err != nil {
				return nil, err
			}
		}
		if r != nil && c.update.rest(*r.Status.CurrentStepIndex) != "" {
			return r, nil
		}
		if err := c.startUpdate(ctx); err != nil {
			return nil, err
		}
	}
}

func (c *Contest) startUpdate(ctx context.Context) error {
	c.updates++
	c.update = newPlan(c.random, c.updates)
	patch, err := c.update.patch()
	if err != nil {
		return err
	}
	_, err = c.client.Patch(ctx, c.name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// restsOrEnds is true if the controller has taken notice of the update and has no step to go by itself.
func (c *Contest) restsOrEnds(r *v1alpha1.Rollout) bool {
	if !observed(r) || r.Status.CurrentStepIndex == nil || r.Spec.Template.Spec.Containers[0].Image != c.update.image {
		return false
	}
	step := *r.Status.CurrentStepIndex
	return int(step) == len(c.update.steps) || c.update.rest(step) != ""
}

func observed(r *v1alpha1.Rollout) bool { return r.Status.ObservedGeneration == r.Generation }

func (c *Contest) await(ctx context.Context, is func(*v1alpha1.Rollout) bool) (*v1alpha1.Rollout, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source := cluster.SourceOf[*v1alpha1.Rollout]("rollout "+c.name, c.client, cluster.Named(c.name))
	found, err := cluster.Await(ctx, source, func(found []*v1alpha1.Rollout) string {
		switch {
		case len(found) != 1:
			return "it is gone"
		case !is(found[0]):
			return fmt.Sprintf("it is %s at step %d: %s", found[0].Status.Phase, ptr.Deref(found[0].Status.CurrentStepIndex, -1), found[0].Status.Message)
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// answer is what one caller got.
type answer struct {
	took  time.Duration
	reply *v1alpha1.Promotion
	err   error
}

// promoteAtOnce has everybody wait for the same signal, then call.
func (c *Contest) promoteAtOnce(ctx context.Context, step int32, reason string) []answer {
	answers := make([]answer, Callers)
	body := v1alpha1.Promotion{VerbRequest: v1alpha1.VerbRequest{Reason: reason, Expect: v1alpha1.VerbExpectation{StepIndex: &step}}}
	signal := make(chan struct{})
	var ready, all sync.WaitGroup
	ready.Add(Callers)
	for i := range answers {
		all.Go(func() {
			ready.Done()
			<-signal
			began := time.Now()
			a := &answers[i]
			a.reply, a.err = c.client.Promote(ctx, c.name, body.DeepCopy(), metav1.CreateOptions{})
			a.took = time.Since(began)
		})
	}
	ready.Wait()
	close(signal)
	all.Wait()
	return answers
}

// judgeStored holds against the promise what is stored.
func (c *Contest) judgeStored(ctx context.Context, step int32, reason string) error {
	r, err := c.client.Get(ctx, c.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return judgeActions(r, step, reason, c.update.rest(step+1) != "")
}
