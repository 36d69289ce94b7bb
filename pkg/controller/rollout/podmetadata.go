// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"sluice.dev/sluice/pkg/engine"
)

// interned is a copy of labels or annotations whose strings are shared with all others that are equal: the pods of a
// ReplicaSet carry the same. They are kept whole and of all pods: which keys matter is not known before somebody
// writes canaryMetadata into a Rollout whose pods have long been in the cache, and a value that was left out would be
// written again and again.
func interned(all map[string]string) map[string]string {
	if len(all) == 0 {
		return nil
	}
	out := make(map[string]string, len(all))
	for key, value := range all {
		out[unique.Make(key).Value()] = unique.Make(value).Value()
	}
	return out
}

// podsAtOnce is how many pods are changed at the same time: a Service waits for all of them, of which there may be
// thousands. The host's priority and fairness sees to it that others are served.
const podsAtOnce = 16

// written is a write of a pod that the cache may not show yet.
type written struct {
	resourceVersion string
	at              time.Time
}

// label changes the metadata of pods. A refusal is returned last and by itself: it does not keep the other pods from
// being changed, nor, as the caller sees to, a Service from being led elsewhere. What is written on a pod is not worth a
// client without an answer.
func (t *term) label(ctx context.Context, namespace string, page *entry, changes []engine.PodChange) (*refusal, error) {
	changes = slices.DeleteFunc(slices.Clone(changes), func(change engine.PodChange) bool {
		return t.onItsWay(page, change.UID)
	})
	now, results := t.config.Clock.Now(), make([]labelled, len(changes))
	workqueue.ParallelizeUntil(ctx, podsAtOnce, len(changes), func(i int) {
		results[i] = t.labelOne(ctx, namespace, changes[i])
	})
	var refused *refusal
	for i, result := range results {
		switch {
		case errors.Is(result.err, errConflict):
			// It is gone, or has just been changed, and will be looked at again.
		case errors.As(result.err, &refused):
		case result.err != nil:
			return nil, result.err
		case result.resourceVersion != "":
			page.pods[changes[i].UID] = written{result.resourceVersion, now}
			page.wroteToHost(now, "metadata of pod %s", changes[i].Name)
		}
	}
	return refused, ctx.Err()
}

// onItsWay is true for a pod that was just written, which the decision has not seen yet: it is looked at again when the
// cache shows it. Unless that takes too long, since a watch that has died does not say so.
func (t *term) onItsWay(page *entry, uid types.UID) bool {
	last, ok := page.pods[uid]
	return ok && t.config.Clock.Since(last.at) < cachePatience
}

// shown forgets the writes of pods that are seen in what is about to be decided on, and of those that are gone. What
// the cache shows later the decision does not know.
func (e *entry) shown(pods []*corev1.Pod) {
	if len(e.pods) == 0 {
		return
	}
	left := map[types.UID]written{}
	for _, pod := range pods {
		if last, ok := e.pods[pod.UID]; ok && older(pod.ResourceVersion, last.resourceVersion) {
			left[pod.UID] = last
		}
	}
	e.pods = left
}

// labelled is how the write of one pod ended. The zero value says that it was not tried.
type labelled struct {
	resourceVersion string
	err             error
}

func (t *term) labelOne(ctx context.Context, namespace string, change engine.PodChange) labelled {
	metadata := metadataPatch(&change.MetadataChange)
	metadata["uid"] = change.UID
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return labelled{err: err}
	}
	hostWrites.WithLabelValues("patch", "pods").Inc()
	pods := t.config.Host.CoreV1().Pods(namespace)
	pod, err := pods.Patch(ctx, change.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: fieldManager})
	if err == nil {
		return labelled{resourceVersion: pod.ResourceVersion}
	}
	if apierrors.IsInvalid(err) {
		// So is answered also if another pod has taken the name, since a uid cannot be changed.
		live, getErr := pods.Get(ctx, change.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) || getErr == nil && live.UID != change.UID {
			return labelled{err: fmt.Errorf("pod %q is another now: %w", change.Name, errConflict)}
		}
	}
	return labelled{err: refusedAs("ChangingPodFailed", fmt.Sprintf("labels or annotations of pod %q cannot be changed", change.Name), err)}
}

// metadataPatch is the metadata of a merge patch that makes a change.
func metadataPatch(change *engine.MetadataChange) map[string]any {
	metadata := map[string]any{}
	for field, keys := range map[string]struct {
		set    map[string]string
		remove []string
	}{"labels": {change.SetLabels, change.RemoveLabels}, "annotations": {change.SetAnnotations, change.RemoveAnnotations}} {
		values := map[string]any{}
		for _, key := range keys.remove {
			values[key] = nil
		}
		for key, value := range keys.set {
			values[key] = value
		}
		if len(values) > 0 {
			metadata[field] = values
		}
	}
	return metadata
}
