// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/storage"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/engine"
)

// Rebuilder brings a store that the owner guard refuses up to what the host cluster runs: it makes the missing Rollouts
// anew under their old UIDs, and sees to it that the others move nothing. Then it makes the store the one that the host
// knows. It deletes nothing, and writes nothing to the host but the identity of the store.
type Rebuilder struct {
	// Guard judges the store. Its gate is not used.
	Guard *ownerguard.Guard
	// Rollouts is the store itself, below the API, and Root the key of all Rollouts in it.
	Rollouts storage.Interface
	Root     string
	// ReplicaSets are those of the host.
	ReplicaSets appsclient.ReplicaSetsGetter
	// DryRun tells what would be done, and does nothing.
	DryRun bool
	// Out is told what is done, for people.
	Out io.Writer
	// Now is when.
	Now time.Time
}

// change is what is to be done about one Rollout.
type change struct {
	rollout *rollouts.Rollout
	// isNew is true if the store does not have it, untouched if it is left as the store has it.
	isNew, untouched bool
	// notes are what a person has to know.
	notes []string
}

// Run does everything. It fails, and leaves the store refused, if a missing Rollout cannot be rebuilt: what could be is
// stored all the same, and a second run, or --accept-data-loss, is about the rest only.
func (b *Rebuilder) Run(ctx context.Context) error {
	verdict, err := b.Guard.Judge(ctx)
	if err != nil {
		return err
	}
	if verdict.Serve {
		return b.say("nothing to rebuild: the store is the one that the host cluster knows, with all that the cluster has seen of it\n")
	}
	if err := b.say("%s\n", verdict.Reason); err != nil {
		return err
	}
	changes, impossible, err := b.plan(ctx, verdict.Missing)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := b.apply(ctx, c); err != nil {
			return err
		}
	}
	for _, reason := range impossible {
		if err := b.say("CANNOT BE REBUILT: %s\n", reason); err != nil {
			return err
		}
	}
	switch {
	case b.DryRun:
		return b.say("nothing was changed, since --dry-run is given\n")
	case len(impossible) > 0:
		return fmt.Errorf("%d missing Rollouts cannot be rebuilt, and the server goes on refusing to answer: start it once with --accept-data-loss, which detaches the ReplicaSets of those only, and apply their manifests", len(impossible))
	}
	return b.finish(ctx)
}

// finish opens the store for servers, unless something is missing still.
func (b *Rebuilder) finish(ctx context.Context) error {
	verdict, err := b.Guard.Judge(ctx)
	if err != nil {
		return err
	}
	if len(verdict.Missing) > 0 {
		return fmt.Errorf("the cluster has changed in the meantime, run this again: %s", verdict.Message())
	}
	if err := b.say("the store is up to what the cluster runs; a server that has refused it ends now, and answers when it is started anew\n"); err != nil {
		return err
	}
	return b.Guard.Accept(ctx)
}

func (b *Rebuilder) say(format string, args ...any) error {
	_, err := fmt.Fprintf(b.Out, format, args...)
	return err
}

// plan finds what is to be done, in the order of names, and what cannot be.
func (b *Rebuilder) plan(ctx context.Context, missing []engine.OwnerOfReplicaSets) (changes []change, impossible []string, err error) {
	sets, err := b.setsByOwner(ctx)
	if err != nil {
		return nil, nil, err
	}
	stored, err := b.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	names := map[types.NamespacedName]bool{}
	for i := range stored {
		r := &stored[i]
		names[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}] = true
		if changed, notes := engine.BringUp(r, sets[r.UID]); len(notes) > 0 {
			changes = append(changes, change{rollout: changed, untouched: changed == r, notes: notes})
		}
	}
	for _, owner := range missing {
		name := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
		rebuilt, unknown, err := b.rebuild(owner, sets[owner.UID])
		if err == nil && names[name] {
			err = errors.New("the store has another Rollout of that name")
		}
		if err != nil {
			impossible = append(impossible, fmt.Sprintf("%s (uid %s): %v", name, owner.UID, err))
			continue
		}
		names[name] = true
		changes = append(changes, change{rollout: rebuilt, isNew: true, notes: unknown})
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.rollout.Namespace, b.rollout.Namespace), cmp.Compare(a.rollout.Name, b.rollout.Name))
	})
	return changes, impossible, nil
}

// rebuild makes a Rollout that the API would have accepted.
func (b *Rebuilder) rebuild(owner engine.OwnerOfReplicaSets, sets []*appsv1.ReplicaSet) (*rollouts.Rollout, []string, error) {
	rebuilt, unknown, err := engine.Rebuild(engine.Remains{Owner: owner, ReplicaSets: sets, Spec: specOn}, b.Now)
	if err != nil {
		return nil, nil, err
	}
	if rebuilt, err = defaulted(rebuilt); err != nil {
		return nil, nil, err
	}
	metav1.SetMetaDataAnnotation(&rebuilt.ObjectMeta, rollouts.RebuiltAnnotation, b.Now.UTC().Format(time.RFC3339)+": "+strings.Join(unknown, "; "))
	if problems := validation.ValidateRollout(rebuilt); len(problems) > 0 {
		return nil, nil, fmt.Errorf("what its ReplicaSets tell is no valid Rollout: %w", problems.ToAggregate())
	}
	return rebuilt, unknown, nil
}

// specOn is the spec that the controller wrote on a ReplicaSet; nil if there is none that can be read.
func specOn(rs *appsv1.ReplicaSet) *rollouts.RolloutSpec {
	served := &v1alpha1.Rollout{}
	text, found := rs.Annotations[rollouts.SpecAnnotation]
	if !found || json.Unmarshal([]byte(text), &served.Spec) != nil {
		return nil
	}
	hub := &rollouts.Rollout{}
	if err := apiserver.Scheme.Convert(served, hub, nil); err != nil {
		return nil
	}
	return &hub.Spec
}

// defaulted is a Rollout with the defaults of the served version.
func defaulted(r *rollouts.Rollout) (*rollouts.Rollout, error) {
	served, out := &v1alpha1.Rollout{}, &rollouts.Rollout{}
	if err := apiserver.Scheme.Convert(r, served, nil); err != nil {
		return nil, err
	}
	apiserver.Scheme.Default(served)
	return out, apiserver.Scheme.Convert(served, out, nil)
}

// apply tells what is done about one Rollout, and does it.
func (b *Rebuilder) apply(ctx context.Context, c change) error {
	r := c.rollout
	what := "changed"
	switch {
	case c.isNew:
		what = fmt.Sprintf("rebuilt, paused, at revision %d with %d replicas", r.Status.Revision, ptr.Deref(r.Spec.Replicas, 0))
	case c.untouched:
		what = "left as it is"
	}
	err := b.say("%s/%s (uid %s): %s\n  %s\n", r.Namespace, r.Name, r.UID, what, strings.Join(c.notes, "\n  "))
	if err != nil || b.DryRun || c.untouched {
		return err
	}
	key := path.Join(b.Root, r.Namespace, r.Name)
	if c.isNew {
		if err := b.Rollouts.Create(ctx, key, r, &rollouts.Rollout{}, 0); err != nil {
			return fmt.Errorf("storing %s/%s: %w", r.Namespace, r.Name, err)
		}
		return nil
	}
	seen := r.ResourceVersion
	err = b.Rollouts.GuaranteedUpdate(ctx, key, &rollouts.Rollout{}, false, &storage.Preconditions{UID: &r.UID, ResourceVersion: &seen},
		storage.SimpleUpdate(func(runtime.Object) (runtime.Object, error) { return r.DeepCopy(), nil }), nil)
	if err != nil {
		return fmt.Errorf("storing %s/%s: %w", r.Namespace, r.Name, err)
	}
	return nil
}

// setsByOwner are the ReplicaSets of the host by their controller, if that is a Rollout. Those being deleted do not count.
func (b *Rebuilder) setsByOwner(ctx context.Context) (map[types.UID][]*appsv1.ReplicaSet, error) {
	sets := map[types.UID][]*appsv1.ReplicaSet{}
	p := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return b.ReplicaSets.ReplicaSets(metav1.NamespaceAll).List(ctx, options)
	})
	err := p.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		rs, ok := obj.(*appsv1.ReplicaSet)
		if !ok {
			return fmt.Errorf("a list of ReplicaSets contains a %T", obj)
		}
		owner := metav1.GetControllerOf(rs)
		if owner != nil && owner.Kind == "Rollout" && strings.HasPrefix(owner.APIVersion, rollouts.GroupName+"/") && rs.DeletionTimestamp == nil {
			sets[owner.UID] = append(sets[owner.UID], rs)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing ReplicaSets in the host cluster: %w", err)
	}
	return sets, nil
}

// list are all Rollouts in the store.
func (b *Rebuilder) list(ctx context.Context) ([]rollouts.Rollout, error) {
	var list rollouts.RolloutList
	if err := b.Rollouts.GetList(ctx, b.Root+"/", storage.ListOptions{Predicate: storage.Everything, Recursive: true}, &list); err != nil {
		return nil, fmt.Errorf("listing the Rollouts in the store: %w", err)
	}
	return list.Items, nil
}

// UIDs are all Rollouts in the store as namespace/name, by UID, as the owner guard asks for them.
func UIDs(ctx context.Context, store storage.Interface, root string) (map[types.UID]string, error) {
	stored, err := (&Rebuilder{Rollouts: store, Root: root}).list(ctx)
	if err != nil {
		return nil, err
	}
	uids := make(map[types.UID]string, len(stored))
	for i := range stored {
		uids[stored[i].UID] = stored[i].Namespace + "/" + stored[i].Name
	}
	return uids, nil
}
