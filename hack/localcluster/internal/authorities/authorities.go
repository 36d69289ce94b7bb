// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package authorities has the certificates of the public authorities, so that an image made from nothing can trust
// them: those of Mozilla's list, as Go distributes it. It imports that list only.
package authorities

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"runtime/debug"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// module is where the list comes from.
const module = "golang.org/x/crypto/x509roots/fallback"

// PEM are the certificates, in the format of ca-certificates.crt. Authorities that are trusted only up to some date
// or for some names cannot be told so in it, and are left out.
func PEM() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return all.Bytes()
}

// Module is the Go module that this program has the list from. It fails in a program that was built without
// its modules being noted in it.
func Module() (*debug.Module, error) {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("it is not noted in this program which version of %s is in it; build it with Go modules", module)
}
