// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hosttemplate asks the host cluster what a pod template means there: it dry-run-creates a
// ReplicaSet from it, which validates and defaults the template as the host will when the real one is
// created, and holds the answer against the ReplicaSets that exist. It may import the hub types, the engine
// and client-go.
package hosttemplate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/engine"
)

// timeout is how long the host may take. The request that waits came through that same host, whose own
// limit is longer, so the client gets our answer and not a broken connection.
const timeout = 5 * time.Second

// Resolver resolves templates in the host, as the server's own identity.
type Resolver struct {
	host kubernetes.Interface
}

// New returns a Resolver. The client should hand on the host's warnings: see ForwardWarnings.
func New(host kubernetes.Interface) *Resolver {
	return &Resolver{host: host}
}

// Resolve returns the template of a Rollout as the host defaults it, and the revision that it is. stored is
// what the Rollout replaces; nil if it is new. The client is warned of fields that the host leaves out of its answer.
// Its error is an answer to the client: Invalid with the host's own field errors, or Timeout.
func (r *Resolver) Resolve(ctx context.Context, rollout, stored *rollouts.Rollout) (*corev1.PodTemplateSpec, engine.Resolution, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	template, err := r.dryRun(bounded, rollout)
	if err != nil {
		return nil, engine.Resolution{}, err
	}
	left, err := dropped(&rollout.Spec.Template, template)
	if err != nil {
		return nil, engine.Resolution{}, err
	}
	for _, path := range left {
		warning.AddWarning(ctx, "", path+" is dropped: this cluster does not have it, or does not allow it")
	}
	existing, err := r.list(bounded, rollout)
	if err != nil {
		return nil, engine.Resolution{}, unanswered(err)
	}
	return template, engine.Resolve(cmp.Or(stored, rollout), template, existing), nil
}

// dryRun returns the template as the host would store it in a ReplicaSet. If a policy or a quota refuses the
// ReplicaSet, which may well be lifted by the time it is needed, that becomes a warning, and a PodTemplate,
// which has the same rules and which hardly anybody restricts, is asked for the defaults instead. If that is
// refused as well, a new Rollout is stored as it is, and a changed template is Forbidden.
func (r *Resolver) dryRun(ctx context.Context, rollout *rollouts.Rollout) (*corev1.PodTemplateSpec, error) {
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	replicaSet, err := r.host.AppsV1().ReplicaSets(rollout.Namespace).Create(ctx, probe(rollout), options)
	if err == nil {
		return &replicaSet.Spec.Template, nil
	}
	if answer := r.answer(rollout, err); answer != nil {
		return nil, answer
	}
	warning.AddWarning(ctx, "", "the cluster would refuse a ReplicaSet of this template now: "+err.Error())
	podTemplate, err := r.host.CoreV1().PodTemplates(rollout.Namespace).Create(ctx, &corev1.PodTemplate{
		ObjectMeta: metav1.ObjectMeta{GenerateName: generateName(rollout)},
		Template:   rollout.Spec.Template,
	}, options)
	if err == nil {
		return &podTemplate.Template, nil
	}
	if answer := r.answer(rollout, err); answer != nil {
		return nil, answer
	}
	if rollout.Status.CurrentPodHash != "" {
		// Without its defaults a template cannot be told from the one that runs: it might be no change at
		// all, and must not start a revision by mistake.
		return nil, apierrors.NewForbidden(rollouts.Resource("rollouts"), rollout.Name,
			fmt.Errorf("spec.template cannot be compared with what runs while the cluster refuses to check it: %w", err))
	}
	warning.AddWarning(ctx, "", "the template could not be checked by the cluster: "+err.Error())
	return rollout.Spec.Template.DeepCopy(), nil
}

// probe is the ReplicaSet that would be made of the template, with no pods.
func probe(rollout *rollouts.Rollout) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{GenerateName: generateName(rollout), Labels: rollout.Spec.Template.Labels},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To[int32](0),
			MinReadySeconds: rollout.Spec.MinReadySeconds,
			Selector:        rollout.Spec.Selector,
			Template:        rollout.Spec.Template,
		},
	}
}

// generateName is the beginning of the names of what the host is asked to make of the template. A Rollout that
// is to get a generated name has none yet; "x" stands for what will be generated.
func generateName(rollout *rollouts.Rollout) string {
	return cmp.Or(rollout.Name, rollout.GenerateName+"x") + "-"
}

// answer is what the client is told if the host does not accept the probe; nil if the refusal is one of
// policy or quota, and not about the template itself.
func (r *Resolver) answer(rollout *rollouts.Rollout, err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return unanswered(err)
	}
	switch host := status.Status(); {
	case host.Code >= 500 || host.Code == 429 || apierrors.IsTimeout(err):
		return unanswered(err)
	case apierrors.IsInvalid(err) && aboutTemplate(host.Details):
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status:  metav1.StatusFailure,
			Code:    host.Code,
			Reason:  host.Reason,
			Message: fmt.Sprintf("Rollout.%s %q is invalid: %s", rollouts.GroupName, rollout.Name, causes(host.Details)),
			Details: &metav1.StatusDetails{Group: rollouts.GroupName, Kind: "Rollout", Name: rollout.Name, Causes: host.Details.Causes},
		}}
	case apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) || apierrors.IsUnauthorized(err):
		return apierrors.NewBadRequest("spec.template: the cluster refuses it: " + err.Error())
	}
	return nil
}

// aboutTemplate tells field errors from the refusal of a policy, which is Invalid as well but names no field.
func aboutTemplate(details *metav1.StatusDetails) bool {
	if details == nil {
		return false
	}
	for _, cause := range details.Causes {
		if strings.HasPrefix(cause.Field, "spec.") {
			return true
		}
	}
	return false
}

func causes(details *metav1.StatusDetails) string {
	lines := make([]string, 0, len(details.Causes))
	for _, cause := range details.Causes {
		lines = append(lines, cause.Field+": "+cause.Message)
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return "[" + strings.Join(lines, ", ") + "]"
}

func unanswered(err error) error {
	return apierrors.NewTimeoutError(fmt.Sprintf("the cluster did not say whether it accepts spec.template, so nothing was stored: %v", err), 1)
}

// ReplicaSets returns those that a Rollout controls or may adopt. Its error is an answer to the client.
func (r *Resolver) ReplicaSets(ctx context.Context, rollout *rollouts.Rollout) ([]*appsv1.ReplicaSet, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := r.list(bounded, rollout)
	if err != nil {
		return nil, apierrors.NewTimeoutError(fmt.Sprintf("the cluster did not say which ReplicaSets there are, so nothing was done: %v", err), 1)
	}
	return found, nil
}

// list returns those that the Rollout controls or may adopt. The selector of a Rollout never changes,
// so it finds them all.
func (r *Resolver) list(ctx context.Context, rollout *rollouts.Rollout) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(rollout.Spec.Selector)
	if err != nil {
		return nil, err
	}
	hashed, err := labels.NewRequirement(rollouts.PodTemplateHashLabel, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	list, err := r.host.AppsV1().ReplicaSets(rollout.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.Add(*hashed).String()})
	if err != nil {
		return nil, err
	}
	var found []*appsv1.ReplicaSet
	for i := range list.Items {
		controller := metav1.GetControllerOf(&list.Items[i])
		if controller == nil || (rollout.UID != "" && controller.UID == rollout.UID) {
			found = append(found, &list.Items[i])
		}
	}
	return found, nil
}

// ForwardWarnings hands the host's warnings on a dry run, of Pod Security for example, to the client whose
// request made us ask. It is the WarningHandlerWithContext of the client given to New.
type ForwardWarnings struct{}

// HandleWarningHeaderWithContext passes on one warning.
func (ForwardWarnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _ string, text string) {
	// 299 is the one code that Kubernetes uses for warnings.
	if code == 299 && text != "" {
		warning.AddWarning(ctx, "", text)
	}
}
