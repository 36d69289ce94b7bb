// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// CertificateLifetimes is how long the certificates are valid that the server makes for itself. Each is replaced when
// a third of its time is left.
type CertificateLifetimes struct {
	// CA is the lifetime of the authority: at least one and a half times that of what it signs.
	CA time.Duration
	// Leaf is the lifetime of the certificate that is served: at least MinLeafLifetime.
	Leaf time.Duration
}

// DefaultCertificateLifetimes are ten years for the authority and one for what is served.
var DefaultCertificateLifetimes = CertificateLifetimes{CA: 10 * 365 * 24 * time.Hour, Leaf: 365 * 24 * time.Hour}

// MinLeafLifetime leaves time to make what is new known before it is used.
const MinLeafLifetime = 10 * time.Second

func (l *CertificateLifetimes) addFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&l.Leaf, "serving-certificate-lifetime", l.Leaf,
		"How long a serving certificate is valid that the server makes for itself; it is replaced when a third of that is left. At least "+
			MinLeafLifetime.String()+". Not used with --tls-cert-file.")
	flags.DurationVar(&l.CA, "serving-authority-lifetime", l.CA,
		"How long the authority is valid by which the server signs its own serving certificates; it is replaced when a third of that is left. "+
			"At least one and a half times --serving-certificate-lifetime. Not used with --tls-cert-file.")
}

func (l CertificateLifetimes) validate() error {
	var errs []error
	if l.Leaf < MinLeafLifetime {
		errs = append(errs, fmt.Errorf("--serving-certificate-lifetime (%v) must be %v or longer", l.Leaf, MinLeafLifetime))
	}
	if 2*l.CA < 3*l.Leaf {
		errs = append(errs, fmt.Errorf("--serving-authority-lifetime (%v) must be at least one and a half times --serving-certificate-lifetime (%v)", l.CA, l.Leaf))
	}
	return errors.Join(errs...)
}

// recheck is how often the Secret and the APIService are read again: four times in the third of its life in which a
// certificate is replaced, and once a minute at least.
func (l CertificateLifetimes) recheck() time.Duration { return min(time.Minute, l.Leaf/12) }

// trustDelay is how long a new authority is in the caBundle before anything is served that only it has signed: every
// kube-apiserver has to take notice first.
func (l CertificateLifetimes) trustDelay() time.Duration { return min(time.Minute, l.Leaf/6) }
