// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
	"sluice.dev/sluice/pkg/engine"
)

// TemplateResolver asks the host what a pod template means there. It returns the template as the host
// validated and defaulted it, and the revision that it is; stored is the Rollout that is to be replaced, nil if it
// is new. Its errors are answers to the client: what the host refused, or a Timeout if the host did not answer. A
// template is never stored unresolved.
type TemplateResolver interface {
	Resolve(ctx context.Context, rollout, stored *rollouts.Rollout) (*corev1.PodTemplateSpec, engine.Resolution, error)
}

// templateWrite is one request that may write a template. It asks the host once for each template that the
// request means to store, not once for each conflict with another writer.
type templateWrite struct {
	resolver TemplateResolver

	asked      *corev1.PodTemplateSpec
	answered   *corev1.PodTemplateSpec
	resolved   engine.Resolution
	known      [2]string // the hashes that the Rollout knew then
	resolution *engine.Resolution
}

type templateWriteKey struct{}

func withTemplateWrite(ctx context.Context, resolver TemplateResolver) (context.Context, *templateWrite) {
	write := &templateWrite{resolver: resolver}
	return context.WithValue(ctx, templateWriteKey{}, write), write
}

// resolutionFrom returns the revision of the template that the request in ctx writes; nil if it does not
// change the template.
func resolutionFrom(ctx context.Context) *engine.Resolution {
	if write, ok := ctx.Value(templateWriteKey{}).(*templateWrite); ok {
		return write.resolution
	}
	return nil
}

// onCreate resolves the template of a new Rollout. What is invalid in itself is left to the strategy, which
// reports it: the host need not be asked.
func (w *templateWrite) onCreate(ctx context.Context, rollout *rollouts.Rollout) error {
	if len(validation.ValidateRolloutSpec(&rollout.Spec, nil)) > 0 {
		return nil
	}
	if err := w.resolve(ctx, unborn(ctx, rollout), nil); err != nil {
		return err
	}
	rollout.Spec.Template = *w.answered.DeepCopy()
	return nil
}

// onUpdate is a rest.TransformFunc: it runs after the mutating admission of every attempt to store an
// update, and resolves the template if that is to change.
func (w *templateWrite) onUpdate(ctx context.Context, obj, old runtime.Object) (runtime.Object, error) {
	rollout, ok := obj.(*rollouts.Rollout)
	stored, oldOK := old.(*rollouts.Rollout)
	if !ok || !oldOK {
		return nil, apierrors.NewBadRequest("the body must be a Rollout")
	}
	w.resolution = nil
	if stored.ResourceVersion == "" {
		// Server-side apply creates what is not there by an update of nothing.
		return rollout, w.onCreate(ctx, rollout)
	}
	if apiequality.Semantic.DeepEqual(rollout.Spec.Template, stored.Spec.Template) {
		return rollout, nil
	}
	if len(validation.ValidateRolloutSpec(&rollout.Spec, nil)) > 0 {
		return rollout, nil
	}
	if err := w.resolve(ctx, withIdentity(rollout, stored), stored); err != nil {
		return nil, err
	}
	rollout.Spec.Template = *w.answered.DeepCopy()
	if apiequality.Semantic.DeepEqual(rollout.Spec.Template, stored.Spec.Template) || w.resolved.Hash == stored.Status.CurrentPodHash {
		// The same manifest again, or one that spells out defaults: no new revision.
		w.resolution = nil
	}
	return rollout, nil
}

// unborn is a view of a new Rollout as it will be stored: in the namespace of the request, and without the
// uid and the status that a client may have put into its body.
func unborn(ctx context.Context, rollout *rollouts.Rollout) *rollouts.Rollout {
	view := *rollout
	view.Namespace = genericapirequest.NamespaceValue(ctx)
	view.UID, view.Status = "", rollouts.RolloutStatus{}
	return &view
}

// withIdentity is a view of an update that has the stored identity and status, which a client may have left
// out of its body and cannot change.
func withIdentity(rollout, stored *rollouts.Rollout) *rollouts.Rollout {
	view := *rollout
	view.UID, view.Name, view.Namespace = stored.UID, stored.Name, stored.Namespace
	view.Status = stored.Status
	return &view
}

func (w *templateWrite) resolve(ctx context.Context, rollout, stored *rollouts.Rollout) error {
	if w.asked == nil || !apiequality.Semantic.DeepEqual(*w.asked, rollout.Spec.Template) || w.outdated(stored) {
		asked := rollout.Spec.Template.DeepCopy()
		answered, resolved, err := w.resolver.Resolve(ctx, rollout, stored)
		if err != nil {
			return err
		}
		w.asked, w.answered, w.resolved, w.known = asked, answered, resolved, knownHashes(stored)
	}
	resolution := w.resolved
	w.resolution = &resolution
	return nil
}

// outdated is true if the hash that the template got has meanwhile been given to another: the hash is a name, and
// must not make two templates one revision. So it is if another revision is the stable one by now, and the template was
// found to return to a recent one.
func (w *templateWrite) outdated(stored *rollouts.Rollout) bool {
	now := knownHashes(stored)
	return now != w.known && w.resolved.Window > 0 || now != w.known && slices.Contains(now[:], w.resolved.Hash) && !engine.TemplatesEqual(w.answered, &stored.Spec.Template)
}

// knownHashes are those of the current and of the stable revision.
func knownHashes(stored *rollouts.Rollout) [2]string {
	if stored == nil {
		return [2]string{}
	}
	return [2]string{stored.Status.CurrentPodHash, stored.Status.StableRS}
}

var _ rest.TransformFunc = (&templateWrite{}).onUpdate
