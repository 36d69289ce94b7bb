// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/kubectl/argo"
)

// Sources: reference sections 1.1 (B19), 1.2 (C1, C2) and 1.8 (S1 to S7, S16); architecture, "Storage and what may never
// happen" (what a Rollout adopts).
//
// At every moment the pods belong to a ReplicaSet that keeps them, whoever controls that. These are the acts, each
// of which can be done again, and after each of which the command may end for whatever reason:
//
//  1. Nothing but checks, the last of them by the server: is what runs what the new Rollout would run?
//  2. Pods and ReplicaSets get the labels by which Sluice will know them, and the running ReplicaSet the Rollout to
//     create. Argo Rollouts does not look at those; Sluice does not touch what another controller owns.
//  3. Argo's Rollout is deleted and leaves its ReplicaSets behind.
//  4. The templates of the ReplicaSets get our label, then the pods that came in between. Not before 3: to Argo Rollouts
//     another template is another revision, which it would start.
//  5. The Services that Argo kept change from its label to ours, each in one write. The same pods have both.
//  6. The Rollout is created, adopts the ReplicaSets, and becomes Healthy. It is not created unless the server says
//     that it would run the very revision that runs.

// migrateLive moves Rollouts in the cluster, one after the other.
func (p *plugin) migrateLive(ctx context.Context, args []string, o *migrateOptions) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	names, err := p.namesToMigrate(ctx, c, args, o.all)
	if err != nil {
		return err
	}
	failed := 0
	for _, name := range names {
		t := &takeover{
			cluster: c, name: name, dropUnsupported: o.dropUnsupported, dryRun: string(o.dryRun), interval: p.detachInterval,
			waiting: "the servers were asked",
			say:     func(format string, args ...any) { fmt.Fprintf(p.Out, format+"\n", args...) },
			warn:    func(format string, args ...any) { fmt.Fprintf(p.ErrOut, format+"\n", args...) },
		}
		err := p.migrateOne(ctx, t, o)
		switch {
		case err == nil:
			continue
		case len(names) == 1 || ctx.Err() != nil || t.standing != untouched:
			return err // What is begun is to be looked at before anything else is.
		}
		failed++
		for _, line := range explained(err) {
			fmt.Fprintln(p.ErrOut, line)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d Rollouts were not migrated, and are as they were", failed, len(names))
	}
	return nil
}

func (p *plugin) migrateOne(ctx context.Context, t *takeover, o *migrateOptions) error {
	limited, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	err := t.run(limited)
	if exceeded(limited, err) {
		err = fmt.Errorf("not done after %s, while %s", o.timeout, t.waiting)
	}
	switch {
	case err == nil || t.dryRun != dryRunNone:
		return err
	case ctx.Err() != nil:
		t.warn("Interrupted. Where it stands: %s", t.where())
		return err // Of which no more is said.
	}
	return &hinted{err, "Where it stands: " + t.where()}
}

// namesToMigrate are the Rollouts to move: those named, or all that Argo has and all whose move was begun.
func (p *plugin) namesToMigrate(ctx context.Context, c *cluster, args []string, all bool) ([]string, error) {
	var names []string
	for _, arg := range args {
		name, _ := argoName(arg)
		names = append(names, name)
	}
	if !all {
		return names, nil
	}
	there, err := c.dynamic.Resource(argo.Resource).Namespace(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) { // Without Argo's CRD there are none.
		return nil, err
	}
	if err == nil {
		for i := range there.Items {
			names = append(names, there.Items[i].GetName())
		}
	}
	begun, err := recorded(ctx, c)
	if err != nil {
		return nil, err
	}
	for name := range begun {
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		p.foundNothing(c.namespace)
	}
	return names, nil
}

// The places where a takeover can stand.
type standing int

const (
	// untouched: nothing was changed.
	untouched standing = iota
	// marked: pods and ReplicaSets may have labels that nobody acts on.
	marked
	// deleting: Argo's Rollout is deleted, or being deleted; what it left is as Argo made it.
	deleting
	// adopting: what it left is being got ready for the new Rollout, or the new Rollout is there.
	adopting
)

// where says where a takeover stands, and how to go on or back.
func (t *takeover) where() string {
	again := fmt.Sprintf("'kubectl sluice migrate --live %s --namespace %s'", t.name, t.namespace)
	if t.dropUnsupported {
		again = strings.TrimSuffix(again, "'") + " --drop-unsupported'"
	}
	switch t.standing {
	case untouched:
		return "nothing was changed."
	case marked:
		return printedArgo(t.name) + " is as it was; its pods and ReplicaSets may have got labels of Sluice, which change nothing. To go on: " + again + ". To go back there is nothing to do."
	case deleting:
		return printedArgo(t.name) + " is deleted or being deleted, and its pods run on in ReplicaSets that nobody scales. To go on: " + again + ". To go back: apply the manifest of " + printedArgo(t.name) + " again once it is gone."
	default:
		return printedArgo(t.name) + " is deleted, and its pods run on in ReplicaSets that " + printed(t.name) + " adopts when it is created; what it is created from is kept in the annotation " + rollouts.MigrationAnnotation + " of the running one. To go on: " + again + "."
	}
}

// nothingThere is what is said where nobody knows of a Rollout of Argo's.
func (t *takeover) nothingThere(ctx context.Context) error {
	r, err := t.sluice.SluiceV1alpha1().Rollouts(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
	switch {
	case err == nil:
		t.say("%s is there already, and there is no %s: nothing to do", printed(r.Name), printedArgo(t.name))
		return nil
	case apierrors.IsNotFound(err) && !groupMissing(err):
		return fmt.Errorf("there is no %s in namespace %s, nor one whose move was begun", printedArgo(t.name), t.namespace)
	}
	return err
}

// refusals are all reasons why a Rollout is not touched.
type refusals []string

// Error names them all.
func (r refusals) Error() string {
	if len(r) == 1 {
		return "it cannot be migrated now: " + r[0]
	}
	return "it cannot be migrated now:\n  " + strings.Join(r, "\n  ")
}

// orNil is nil if nothing is in the way.
func (r refusals) orNil() error {
	if len(r) == 0 {
		return nil
	}
	return r
}

// errTaken is returned when somebody else controls a ReplicaSet that was let go of.
var errTaken = errors.New("another controller has taken it")
