// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
)

func TestExpirationIsThatOfWhatIsServed(t *testing.T) {
	now := time.Now()
	made, err := newServingMaterial([]string{"example.com"}, CertificateLifetimes{CA: time.Hour, Leaf: 30 * time.Minute}, now)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cert.EncodeCertificates(made.leaf)
	if err != nil {
		t.Fatal(err)
	}
	content, err := dynamiccertificates.NewStaticCertKeyContent("test", pem, made.leafKey)
	if err != nil {
		t.Fatal(err)
	}
	defer served.Store(nil)
	observeServing(content)
	if got, want := expiration(), float64(now.Add(30*time.Minute).Unix()); got != want {
		t.Errorf("it expires at %v, want %v", got, want)
	}
}
