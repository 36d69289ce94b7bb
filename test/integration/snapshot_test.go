// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/cmd/server"
)

// command runs sluice-apiserver snapshot.
func command(t *testing.T, args ...string) string {
	t.Helper()
	root := server.NewCommand(t.Context())
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"snapshot"}, args...))
	if err := root.Execute(); err != nil {
		t.Fatalf("snapshot %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// markedRollout has a text in it that is found nowhere else.
func markedRollout(name, marker string) *v1alpha1.Rollout {
	r := newRollout(name)
	r.Annotations = map[string]string{"example.com/marker": marker}
	return r
}

// encryption writes a configuration with these keys, of which the first encrypts.
func encryption(t *testing.T, path string, keys ...string) {
	t.Helper()
	var all strings.Builder
	for _, name := range keys {
		secret := secrets[name]
		fmt.Fprintf(&all, "        - {name: %s, secret: %s}\n", name, base64.StdEncoding.EncodeToString(secret))
	}
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [rollouts.sluice.dev]\n  providers:\n" +
		"  - secretbox:\n        keys:\n" + all.String() + "  - identity: {}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secrets are the keys of the tests by name.
var secrets = map[string][]byte{"key1": random(32), "key2": random(32)}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// onDisk tells whether any file below a folder contains a text.
func onDisk(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// docs/operations.md has the steps of the rotation.
func TestEncryptionAtRestAndARotationOfItsKey(t *testing.T) {
	namespace, dir, folder := newNamespace(t), filepath.Join(t.TempDir(), "data"), t.TempDir()
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	encrypted := func(o *server.Options) { o.Recommended.Etcd.EncryptionProviderConfigFilepath = config }
	const open, sealed = "marker-in-the-open", "marker-that-is-sealed"

	s := start(t, namespace, dir)
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	create := func(r *v1alpha1.Rollout) {
		t.Helper()
		if _, err := rollouts.Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.await(t, r.Name, "Healthy", healthy)
	}
	create(markedRollout("open", open))
	s.stop()
	if !onDisk(t, dir, open) {
		t.Fatal("without encryption the marker is not found on the disk, so that this test shows nothing")
	}

	encryption(t, config, "key1")
	s = start(t, namespace, dir, encrypted)
	rollouts = s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	create(markedRollout("sealed", sealed))
	if onDisk(t, dir, sealed) {
		t.Error("an encrypted Rollout can be read on the disk")
	}
	// What was there is encrypted when it is written again; what is encrypted already is not written for nothing.
	s.rewriteAll(t, "open")
	snapshot := filepath.Join(folder, "one.db")
	command(t, "save", snapshot, "--data-dir="+dir)
	if report := command(t, "verify", snapshot); !strings.Contains(report, "2 by secretbox:v1:key1") || !strings.Contains(report, "were not decoded") {
		t.Errorf("without the keys: %s", report)
	}
	if report := command(t, "verify", snapshot, "--encryption-provider-config="+config); !strings.Contains(report, "2 Rollout.v1alpha1.sluice.dev") {
		t.Errorf("with the keys: %s", report)
	}
	s.stop()

	// The rotation: the new key in front, everything written again, the old key taken out.
	encryption(t, config, "key2", "key1")
	s = start(t, namespace, dir, encrypted)
	s.rewriteAll(t, "open", "sealed")
	s.stop()
	encryption(t, config, "key2")
	s = start(t, namespace, dir, encrypted)
	for _, name := range []string{"open", "sealed"} {
		s.await(t, name, "Healthy", healthy)
	}
	rotated := filepath.Join(folder, "two.db")
	command(t, "save", rotated, "--data-dir="+dir)
	report := command(t, "verify", rotated, "--encryption-provider-config="+config)
	if !strings.Contains(report, "2 by secretbox:v1:key2") || strings.Contains(report, "key1") || !strings.Contains(report, "2 Rollout.v1alpha1.sluice.dev") {
		t.Errorf("after the rotation: %s", report)
	}
	for _, path := range []string{snapshot, rotated} {
		if content, err := os.ReadFile(path); err != nil || bytes.Contains(content, []byte(sealed)) {
			t.Errorf("%s can be read, or not at all: %v", path, err)
		}
	}
}

// rewriteAll puts every Rollout as it is, as kubectl get -o json | kubectl replace -f - does, and checks which of them
// were stored again.
func (s *instance) rewriteAll(t *testing.T, want ...string) {
	t.Helper()
	rollouts := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault)
	all, err := rollouts.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var stored []string
	for _, r := range all.Items {
		written, err := rollouts.Update(t.Context(), &r, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if written.ResourceVersion != r.ResourceVersion {
			stored = append(stored, r.Name)
		}
	}
	if !slices.Equal(stored, want) {
		t.Errorf("%v were stored again, want %v", stored, want)
	}
}

// externalEtcd runs an etcd of its own on a folder, as somebody does who keeps one.
func externalEtcd(t *testing.T, dir string) (endpoint string, stop func()) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "external", dir
	cfg.ListenPeerUrls = nil
	cfg.AdvertisePeerUrls = types.MustNewURLs([]string{peerURL})
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(etcd.Close)
	t.Cleanup(stop)
	<-etcd.Server.ReadyNotify()
	return "http://" + etcd.Clients[0].Addr().String(), stop
}

const peerURL = "http://127.0.0.9:2380"

func TestMovingToAnExternalEtcdAndBack(t *testing.T) {
	namespace, dir, folder := newNamespace(t), filepath.Join(t.TempDir(), "data"), t.TempDir()
	s := start(t, namespace, dir)
	created, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Create(t.Context(), newRollout("mover"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "mover", "Healthy", healthy)
	s.stop()

	to, outside := filepath.Join(folder, "to.db"), filepath.Join(t.TempDir(), "outside")
	command(t, "save", to, "--data-dir="+dir)
	command(t, "restore", to, "--data-dir="+outside, "--member-name=external", "--peer-url="+peerURL)
	endpoint, stop := externalEtcd(t, filepath.Join(outside, "etcd"))
	external := func(o *server.Options) { o.Recommended.Etcd.StorageConfig.Transport.ServerList = []string{endpoint} }
	s = start(t, namespace, "", external)
	s.same(t, created)
	// What is written there is not lost on the way back.
	if _, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Create(t.Context(), newRollout("born-outside"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	born := s.await(t, "born-outside", "Healthy", healthy)
	s.stop()

	back, again := filepath.Join(folder, "back.db"), filepath.Join(t.TempDir(), "again")
	command(t, "save", back, "--etcd-servers="+endpoint)
	stop()
	command(t, "restore", back, "--data-dir="+again)
	s = start(t, namespace, again)
	s.same(t, created)
	s.same(t, born)
}

// same fails the test unless the Rollout is the one it was, and still owns its ReplicaSets.
func (s *instance) same(t *testing.T, before *v1alpha1.Rollout) {
	t.Helper()
	if after := s.await(t, before.Name, "Healthy", healthy); after.UID != before.UID {
		t.Errorf("%s has uid %s, want %s", before.Name, after.UID, before.UID)
	}
	sets, err := host.Host.AppsV1().ReplicaSets(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + before.Name})
	if err != nil || len(sets.Items) != 1 {
		t.Fatalf("%d ReplicaSets, want 1; %v", len(sets.Items), err)
	}
	if owner := metav1.GetControllerOf(&sets.Items[0]); owner == nil || owner.UID != before.UID {
		t.Errorf("the owner of %s is %v", sets.Items[0].Name, owner)
	}
}
