// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"slices"
	"testing"
)

func TestStandbyArgs(t *testing.T) {
	args := []string{"--kubeconfig=/a", "--secure-port=1", "--data-dir=/b", "--snapshot-dir=/c", "--namespace=d", "--audit-log-path=/e"}
	if got, want := standbyArgs(args), []string{"--kubeconfig=/a", "--namespace=d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(args) != 6 || args[1] != "--secure-port=1" {
		t.Errorf("the arguments of the first server became %q", args)
	}
}
