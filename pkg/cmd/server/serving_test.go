// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/cert"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorfake "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
)

const testAPIService = "v1alpha1.sluice.dev"

// servingWorld is a host cluster and a clock.
type servingWorld struct {
	host       *fake.Clientset
	aggregator *aggregatorfake.Clientset
	now        time.Time
}

func newServingWorld(objects ...runtime.Object) *servingWorld {
	return &servingWorld{
		host:       fake.NewClientset(),
		aggregator: aggregatorfake.NewSimpleClientset(objects...),
		now:        time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func (w *servingWorld) replica() *ServingCertificate {
	s := NewServingCertificate(ServingConfig{
		Secrets:     w.host.CoreV1(),
		APIServices: w.aggregator.ApiregistrationV1(),
		Namespace:   "sluice-system",
		Service:     "sluice-apiserver",
		APIService:  testAPIService,
		Lifetimes:   CertificateLifetimes{CA: 30 * time.Hour, Leaf: 3 * time.Hour},
	})
	s.now = func() time.Time { return w.now }
	return s
}

func (w *servingWorld) bundle(t *testing.T) []byte {
	t.Helper()
	registered, err := w.aggregator.ApiregistrationV1().APIServices().Get(t.Context(), testAPIService, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return registered.Spec.CABundle
}

// writes lists what was written to the host, in order, and forgets it.
func (w *servingWorld) writes() []string {
	var out []string
	for _, a := range slices.Concat(w.host.Actions(), w.aggregator.Actions()) {
		if a.GetVerb() != "get" {
			out = append(out, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	w.host.ClearActions()
	w.aggregator.ClearActions()
	return out
}

func apiService(change func(*apiregistrationv1.APIServiceSpec)) *apiregistrationv1.APIService {
	s := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: testAPIService},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "sluice.dev", Version: "v1alpha1",
			Service: &apiregistrationv1.ServiceReference{Namespace: "sluice-system", Name: "sluice-apiserver"},
		},
	}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

func runOnce(t *testing.T, s *ServingCertificate) {
	t.Helper()
	if err := s.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// handshake connects as kube-apiserver does, trusting the bundle.
func handshake(t *testing.T, s *ServingCertificate, bundle []byte, name string, now time.Time) error {
	t.Helper()
	pair, err := tls.X509KeyPair(s.CurrentCertKeyContent())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the bundle has no certificate")
	}
	clock := func() time.Time { return now }
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go func() {
		_ = tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{pair}, Time: clock}).Handshake()
	}()
	return tls.Client(theirs, &tls.Config{RootCAs: roots, ServerName: name, Time: clock}).Handshake()
}

func TestKubeAPIServerTrustsTheCertificateUnderEveryNameOfTheService(t *testing.T) {
	w := newServingWorld(apiService(nil))
	s := w.replica()
	runOnce(t, s)
	for _, name := range []string{
		"sluice-apiserver", "sluice-apiserver.sluice-system", "sluice-apiserver.sluice-system.svc",
		"sluice-apiserver.sluice-system.svc.cluster.local", "localhost", "127.0.0.1",
	} {
		if err := handshake(t, s, w.bundle(t), name, w.now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, s, w.bundle(t), "example.com", w.now); err == nil {
		t.Error("want another name refused")
	}
}

func TestReplicasShareOneCertificateAndASteadyStateWritesNothing(t *testing.T) {
	w := newServingWorld(apiService(nil))
	first, second := w.replica(), w.replica()
	runOnce(t, first)
	w.writes()
	runOnce(t, second)
	runOnce(t, first)
	if got := w.writes(); len(got) != 0 {
		t.Errorf("want no writes, got %v", got)
	}
	a, _ := first.CurrentCertKeyContent()
	b, _ := second.CurrentCertKeyContent()
	if string(a) != string(b) {
		t.Error("the replicas serve different certificates")
	}
}

func TestTheLoserOfARaceTakesTheCertificateOfTheWinner(t *testing.T) {
	winner, loser := newServingWorld(), newServingWorld(apiService(nil))
	first, second := winner.replica(), loser.replica()
	runOnce(t, first)
	won, err := winner.host.CoreV1().Secrets("sluice-system").Get(t.Context(), ServingSecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	loser.host.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.Join(loser.host.Tracker().Add(won), apierrors.NewAlreadyExists(corev1.Resource("secrets"), ServingSecretName))
	})
	runOnce(t, second)
	a, _ := first.CurrentCertKeyContent()
	b, _ := second.CurrentCertKeyContent()
	if len(a) == 0 || string(a) != string(b) {
		t.Error("want both to serve what the winner made")
	}
}

type countingListener int

func (l *countingListener) Enqueue() { *l++ }

func TestTheLeafIsRenewedByTheSameAuthorityWithoutARestart(t *testing.T) {
	w := newServingWorld(apiService(nil))
	s := w.replica()
	var told countingListener
	s.AddListener(&told)
	runOnce(t, s)
	bundle := w.bundle(t)
	old, _ := s.CurrentCertKeyContent()
	w.now = w.now.Add(2*time.Hour + time.Minute)
	runOnce(t, s)
	if cert, _ := s.CurrentCertKeyContent(); string(cert) == string(old) {
		t.Error("want a new certificate when less than a third of the lifetime is left")
	}
	if told != 2 {
		t.Errorf("want the server told of both certificates, was told %d times", told)
	}
	if string(bundle) != string(w.bundle(t)) {
		t.Error("want the authority unchanged")
	}
	if err := handshake(t, s, bundle, "localhost", w.now.Add(150*time.Minute)); err != nil {
		t.Error(err)
	}
}

func TestANewAuthorityIsTrustedBeforeItSigns(t *testing.T) {
	w := newServingWorld(apiService(nil))
	s, behind := w.replica(), w.replica()
	runOnce(t, s)
	w.now = w.now.Add(19 * time.Hour)
	runOnce(t, s)
	runOnce(t, behind)
	oldBundle := w.bundle(t)

	w.now = w.now.Add(time.Hour + time.Minute)
	runOnce(t, s)
	bundle := w.bundle(t)
	if authorities, err := cert.ParseCertsPEM(bundle); err != nil || len(authorities) != 2 {
		t.Fatalf("want the new and the old authority trusted, got %d, %v", len(authorities), err)
	}
	if err := handshake(t, s, oldBundle, "localhost", w.now); err != nil {
		t.Errorf("want the old leaf kept until its own renewal, so that nobody has to hurry: %v", err)
	}

	w.now = w.now.Add(2 * time.Hour)
	runOnce(t, s)
	if err := handshake(t, s, bundle, "localhost", w.now); err != nil {
		t.Errorf("want the new leaf trusted by the bundle that was published before: %v", err)
	}
	if err := handshake(t, s, oldBundle, "localhost", w.now); err == nil {
		t.Error("want the new leaf signed by the new authority")
	}
	if err := handshake(t, behind, bundle, "localhost", w.now.Add(-time.Hour)); err != nil {
		t.Errorf("want a replica that is behind still trusted: %v", err)
	}
}

// Authority and leaf are due in the same moment, as after a long time in which no server ran.
func TestANewAuthoritySignsOnlyAfterItIsKnown(t *testing.T) {
	w := newServingWorld(apiService(nil))
	s := w.replica()
	runOnce(t, s)
	w.now = w.now.Add(19*time.Hour + time.Minute)
	runOnce(t, s)
	oldBundle := w.bundle(t)

	w.now = w.now.Add(2*time.Hour + time.Minute)
	for range 2 {
		runOnce(t, s)
		if err := handshake(t, s, oldBundle, "localhost", w.now); err != nil {
			t.Fatalf("want what is valid served until the new authority is known: %v", err)
		}
	}
	bundle := w.bundle(t)
	w.now = w.now.Add(time.Minute)
	runOnce(t, s)
	if handshake(t, s, oldBundle, "localhost", w.now) == nil || handshake(t, s, bundle, "localhost", w.now) != nil {
		t.Error("want the new authority used a minute later")
	}

	w.now = w.now.Add(100 * time.Hour)
	runOnce(t, s)
	if err := handshake(t, s, w.bundle(t), "localhost", w.now); err != nil {
		t.Errorf("want what has expired replaced at once: %v", err)
	}
}

func TestLifetimesThatLeaveNoTimeAreRefused(t *testing.T) {
	for _, test := range []struct {
		rule     string
		leaf, ca time.Duration
		says     string
	}{
		{"the defaults", DefaultCertificateLifetimes.Leaf, DefaultCertificateLifetimes.CA, ""},
		{"the shortest", 10 * time.Second, 15 * time.Second, ""},
		{"a certificate that is valid for too short a time", 9 * time.Second, time.Hour, "--serving-certificate-lifetime (9s) must be 10s or longer"},
		{"an authority that is valid for too short a time", time.Minute, 89 * time.Second, "--serving-authority-lifetime (1m29s) must be at least one and a half times --serving-certificate-lifetime (1m0s)"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			options := NewOptions()
			options.Certificates = CertificateLifetimes{CA: test.ca, Leaf: test.leaf}
			err := options.Validate()
			if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error about %q", err, test.says)
			}
		})
	}
}

func TestTheBundleOfTheAPIServiceIsKeptRight(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*apiregistrationv1.APIServiceSpec)
	}{
		{"emptied", func(s *apiregistrationv1.APIServiceSpec) { s.CABundle = nil }},
		{"replaced", func(s *apiregistrationv1.APIServiceSpec) { s.CABundle = []byte("not ours") }},
		{"switched off", func(s *apiregistrationv1.APIServiceSpec) { s.CABundle, s.InsecureSkipTLSVerify = nil, true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newServingWorld(apiService(nil))
			s := w.replica()
			runOnce(t, s)
			want := w.bundle(t)
			if _, err := w.aggregator.ApiregistrationV1().APIServices().Update(t.Context(), apiService(tc.change), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			runOnce(t, s)
			registered, err := w.aggregator.ApiregistrationV1().APIServices().Get(t.Context(), testAPIService, metav1.GetOptions{})
			if err != nil || string(registered.Spec.CABundle) != string(want) || registered.Spec.InsecureSkipTLSVerify {
				t.Errorf("want the bundle back, got %q, skip %v, %v", registered.Spec.CABundle, registered.Spec.InsecureSkipTLSVerify, err)
			}
		})
	}
}

func TestTheAPIServiceMayBeRegisteredAfterTheServerStarted(t *testing.T) {
	w := newServingWorld()
	s := w.replica()
	runOnce(t, s)
	if err := w.aggregator.Tracker().Add(apiService(nil)); err != nil {
		t.Fatal(err)
	}
	runOnce(t, s)
	if err := handshake(t, s, w.bundle(t), "localhost", w.now); err != nil {
		t.Error(err)
	}
}

func TestAnAPIServiceOfSomebodyElseIsNotTouched(t *testing.T) {
	w := newServingWorld(apiService(func(s *apiregistrationv1.APIServiceSpec) { s.Service.Namespace = "elsewhere" }))
	err := w.replica().RunOnce(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--service-name") {
		t.Errorf("want an error that says what to do, got %v", err)
	}
	if slices.Contains(w.writes(), "update apiservices") {
		t.Error("want the APIService left alone")
	}
}

func TestASecretThatCannotBeUsedIsReplaced(t *testing.T) {
	valid := newServingWorld()
	runOnce(t, valid.replica())
	secret, err := valid.host.CoreV1().Secrets("sluice-system").Get(t.Context(), ServingSecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{caCertKey, caPrivateKeyKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		t.Run(key, func(t *testing.T) {
			w := newServingWorld(apiService(nil))
			broken := secret.DeepCopy()
			broken.Data[key] = []byte("broken")
			if err := w.host.Tracker().Add(broken); err != nil {
				t.Fatal(err)
			}
			s := w.replica()
			runOnce(t, s)
			if err := handshake(t, s, w.bundle(t), "localhost", w.now); err != nil {
				t.Error(err)
			}
		})
	}
}
