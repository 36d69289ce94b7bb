// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"context"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/validation"
)

type patchKey struct{}

// WithPatch lets the storage see the patch of a request, which it only needs to explain why that failed. The
// buffer is filled while the patch is read.
func WithPatch(ctx context.Context, patch *bytes.Buffer) context.Context {
	return context.WithValue(ctx, patchKey{}, patch)
}

// explainedInfo is the object that a request makes of the stored one; if it cannot be made because of a
// malformed quantity in a patch, the error says where that is. Without this a client would be shown the
// whole patch, or an internal error.
type explainedInfo struct {
	rest.UpdatedObjectInfo
	name string
}

// UpdatedObject returns the changed object.
func (i explainedInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj, err := i.UpdatedObjectInfo.UpdatedObject(ctx, old)
	patch, ok := ctx.Value(patchKey{}).(*bytes.Buffer)
	if err == nil || !ok || !unexplained(err) {
		return obj, err
	}
	if bad := validation.MalformedQuantities(patch.Bytes()); len(bad) > 0 {
		err = apierrors.NewInvalid(rollouts.Kind("Rollout"), i.name, bad)
	}
	return obj, err
}

// unexplained is true for an error that names no field but that of the patch as a whole.
func unexplained(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		return true
	}
	if status.Status().Code == http.StatusUnprocessableEntity && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			if cause.Field != "patch" {
				return false
			}
		}
		return true
	}
	return status.Status().Code >= http.StatusInternalServerError && status.Status().Reason != metav1.StatusReasonTimeout
}
