// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package hosttemplate

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"sluice.dev/sluice/pkg/apis/rollouts"
)

func TestWhatTheClientIsToldOfARefusal(t *testing.T) {
	replicaSets := schema.GroupResource{Group: "apps", Resource: "replicasets"}
	kind := schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	image := field.ErrorList{field.Required(field.NewPath("spec", "template", "spec", "containers").Index(0).Child("image"), "")}
	policy := apierrors.NewInvalid(kind, "web-x", nil)
	policy.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: "images must come from our registry"}}
	tests := []struct {
		rule string
		host error
		told func(error) bool
	}{
		{"field errors are the host's own", apierrors.NewInvalid(kind, "web-x", image), apierrors.IsInvalid},
		{"a policy may be lifted by the time that matters", policy, nil},
		{"so may a right or a quota", apierrors.NewForbidden(replicaSets, "web-x", errors.New("exceeded quota")), nil},
		{"no answer is 504", context.DeadlineExceeded, apierrors.IsTimeout},
		{"a broken webhook is no answer", apierrors.NewInternalError(errors.New("failed calling webhook")), apierrors.IsTimeout},
		{"nor is a host that has too much to do", apierrors.NewTooManyRequests("later", 1), apierrors.IsTimeout},
		{"what cannot be read is the client's mistake", apierrors.NewBadRequest("bad quantity"), apierrors.IsBadRequest},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got := New(nil).answer(&rollouts.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, test.host)
			if test.told == nil {
				if got != nil {
					t.Errorf("told %v, want a warning only", got)
				}
				return
			}
			if got == nil || !test.told(got) {
				t.Fatalf("told %v", got)
			}
			var status *apierrors.StatusError
			if apierrors.IsInvalid(got) && (!errors.As(got, &status) || status.ErrStatus.Details.Causes[0].Field != image[0].Field) {
				t.Errorf("told %v, want the field %s", got, image[0].Field)
			}
		})
	}
}
