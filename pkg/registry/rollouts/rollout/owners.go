// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
)

// fieldOwners keeps metadata.managedFields of a Rollout right when a verb changes its spec: whoever calls owns
// what changed, as by an update of the Rollout itself.
type fieldOwners struct {
	manager *managedfields.FieldManager
}

func newFieldOwners(scheme *runtime.Scheme, types managedfields.TypeConverter, reset map[fieldpath.APIVersion]*fieldpath.Set) (*fieldOwners, error) {
	manager, err := managedfields.NewDefaultFieldManager(types, runtime.UnsafeObjectConvertor(scheme), scheme, scheme,
		v1alpha1.SchemeGroupVersion.WithKind("Rollout"), schema.GroupVersion{Group: rollouts.GroupName, Version: runtime.APIVersionInternal},
		"", fieldpath.NewExcludeFilterSetMap(reset))
	if err != nil {
		return nil, fmt.Errorf("preparing the owners of fields: %w", err)
	}
	return &fieldOwners{manager}, nil
}

// changed returns the changed Rollout with its owners.
func (o *fieldOwners) changed(before, after *rollouts.Rollout, manager string) (*rollouts.Rollout, error) {
	obj, err := o.manager.Update(before, after, manager)
	if err != nil {
		return nil, fmt.Errorf("reckoning the owners of fields: %w", err)
	}
	return obj.(*rollouts.Rollout), nil
}
