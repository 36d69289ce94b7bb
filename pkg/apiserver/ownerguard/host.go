// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"

	"sluice.dev/sluice/pkg/engine"
)

// ConfigMapName is the name of the record in the host, in our own namespace.
const ConfigMapName = "sluice-store-identity"

const (
	identityKey = "identity"
	revisionKey = "revision"
)

// errForeignMirror says that the host knows another store than this process has opened the gate for.
var errForeignMirror = errors.New("the host cluster knows another store: two servers with a store each answer for it, or the record was replaced")

// Host is the host cluster, as far as the guard needs it: the copy of the store's record, and the
// ReplicaSets. Everything is read live, nothing from a cache.
type Host struct {
	configMaps  corev1client.ConfigMapInterface
	replicaSets metadata.Getter
	group, kind string
}

// NewHost returns the host for owners of the kind, whose record is kept in the ConfigMap
// ConfigMapName of the namespace.
func NewHost(configMaps corev1client.ConfigMapsGetter, meta metadata.Interface, namespace string, owner schema.GroupKind) *Host {
	return &Host{
		configMaps:  configMaps.ConfigMaps(namespace),
		replicaSets: meta.Resource(appsv1.SchemeGroupVersion.WithResource("replicasets")),
		group:       owner.Group,
		kind:        owner.Kind,
	}
}

// record returns the ConfigMap and what it says; nil for both if there is none.
func (h *Host) record(ctx context.Context) (*corev1.ConfigMap, *engine.StoreRecord, error) {
	cm, err := h.configMaps.Get(ctx, ConfigMapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the record of the store in the host cluster: %w", err)
	}
	r, err := parseRecord(cm)
	return cm, r, err
}

// Identity is the store that the host knows; empty if it knows none.
func (h *Host) Identity(ctx context.Context) (string, error) {
	_, r, err := h.record(ctx)
	if err != nil || r == nil {
		return "", err
	}
	return r.Identity, nil
}

func parseRecord(cm *corev1.ConfigMap) (*engine.StoreRecord, error) {
	revision, err := strconv.ParseUint(cm.Data[revisionKey], 10, 64)
	if err != nil || cm.Data[identityKey] == "" {
		return nil, fmt.Errorf("ConfigMap %s/%s is not a record of a store: it needs %s and %s in its data", cm.Namespace, cm.Name, identityKey, revisionKey)
	}
	return &engine.StoreRecord{Identity: cm.Data[identityKey], Revision: revision}, nil
}

// write stores the record in the ConfigMap that was seen, or in a new one if that is nil. It fails
// with Conflict or AlreadyExists if somebody else was faster.
func (h *Host) write(ctx context.Context, seen *corev1.ConfigMap, r engine.StoreRecord) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:   ConfigMapName,
		Labels: map[string]string{"app.kubernetes.io/part-of": "sluice"},
		Annotations: map[string]string{"kubernetes.io/description": "Which store the Sluice API server has, and how far it is known to have come. " +
			"Do not delete it while there are Rollouts: it is how a wiped or older store is recognised before it can harm pods."},
	}}
	if seen != nil {
		cm = seen.DeepCopy()
	}
	cm.Data = map[string]string{identityKey: r.Identity, revisionKey: strconv.FormatUint(r.Revision, 10)}
	if seen == nil {
		return h.configMaps.Create(ctx, cm, metav1.CreateOptions{})
	}
	return h.configMaps.Update(ctx, cm, metav1.UpdateOptions{})
}

// raise makes the record in the host vouch for what r does at least. seen is the ConfigMap as it was
// last written or read; nil to look first. The ConfigMap as it is then is returned.
func (h *Host) raise(ctx context.Context, seen *corev1.ConfigMap, r engine.StoreRecord) (*corev1.ConfigMap, error) {
	for looked := false; ; looked = true {
		var have *engine.StoreRecord
		var err error
		if seen == nil || looked {
			seen, have, err = h.record(ctx)
		} else {
			have, err = parseRecord(seen)
		}
		switch {
		case err != nil:
			return nil, err
		case have != nil && have.Identity != r.Identity:
			return nil, errForeignMirror
		case have != nil && have.Revision >= r.Revision:
			return seen, nil
		}
		cm, err := h.write(ctx, seen, r)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || (apierrors.IsNotFound(err) && seen != nil) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("raising the record of the store in the host cluster: %w", err)
		}
		return cm, nil
	}
}

// owners returns the owners of our kind that ReplicaSets name, in any version of the group. It counts
// every owner reference, controller or not, since the garbage collector does. ReplicaSets that are
// being deleted do not count.
func (h *Host) owners(ctx context.Context) ([]engine.OwnerOfReplicaSets, error) {
	byUID := map[types.UID]*engine.OwnerOfReplicaSets{}
	err := h.eachOwned(ctx, func(rs *metav1.PartialObjectMetadata, ref metav1.OwnerReference) {
		o := byUID[ref.UID]
		if o == nil {
			o = &engine.OwnerOfReplicaSets{UID: ref.UID, Namespace: rs.Namespace, Name: ref.Name}
			byUID[ref.UID] = o
		}
		o.ReplicaSets = append(o.ReplicaSets, rs.Name)
	})
	if err != nil {
		return nil, err
	}
	owners := make([]engine.OwnerOfReplicaSets, 0, len(byUID))
	for _, uid := range slices.Sorted(maps.Keys(byUID)) {
		owners = append(owners, *byUID[uid])
	}
	return owners, nil
}

// eachOwned calls do for every owner reference of our kind on every ReplicaSet that lives.
func (h *Host) eachOwned(ctx context.Context, do func(*metav1.PartialObjectMetadata, metav1.OwnerReference)) error {
	p := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		return h.replicaSets.List(ctx, opts)
	})
	err := p.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		rs, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return fmt.Errorf("a list of ReplicaSets contains a %T", obj)
		}
		if rs.DeletionTimestamp != nil {
			return nil
		}
		for _, ref := range rs.OwnerReferences {
			if h.isOurs(ref) {
				do(rs, ref)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing ReplicaSets in the host cluster: %w", err)
	}
	return nil
}

func (h *Host) isOurs(ref metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == h.group && ref.Kind == h.kind
}

// detach takes the owner references to the dead off every ReplicaSet that has one, and returns how
// many ReplicaSets had one. Each is written as it was read or not at all.
func (h *Host) detach(ctx context.Context, dead map[types.UID]bool) (int, error) {
	stale := map[types.UID]*metav1.PartialObjectMetadata{}
	err := h.eachOwned(ctx, func(rs *metav1.PartialObjectMetadata, ref metav1.OwnerReference) {
		if dead[ref.UID] {
			stale[rs.UID] = rs
		}
	})
	if err != nil {
		return 0, err
	}
	for _, rs := range stale {
		kept := slices.DeleteFunc(slices.Clone(rs.OwnerReferences), func(ref metav1.OwnerReference) bool {
			return h.isOurs(ref) && dead[ref.UID]
		})
		if err := h.patchOwners(ctx, rs, kept); err != nil {
			return len(stale), fmt.Errorf("detaching ReplicaSet %s/%s: %w", rs.Namespace, rs.Name, err)
		}
	}
	return len(stale), nil
}

func (h *Host) patchOwners(ctx context.Context, rs *metav1.PartialObjectMetadata, refs []metav1.OwnerReference) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             rs.UID,
		"resourceVersion": rs.ResourceVersion,
		"ownerReferences": refs,
	}})
	if err != nil {
		return err
	}
	_, err = h.replicaSets.Namespace(rs.Namespace).Patch(ctx, rs.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
