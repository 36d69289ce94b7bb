// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package authorities

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
)

func TestPEM(t *testing.T) {
	count := 0
	for rest := PEM(); len(rest) > 0; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			t.Fatalf("there is something else after certificate %d", count)
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err != nil || !certificate.IsCA {
			t.Errorf("certificate %d is none of an authority: %v", count, err)
		}
	}
	// Mozilla trusts about 140.
	if count < 100 {
		t.Errorf("there are only %d certificates", count)
	}
}
