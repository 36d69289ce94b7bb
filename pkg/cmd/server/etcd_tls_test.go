// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"

	"sluice.dev/sluice/pkg/cmd/server/member"
)

// greeted returns the certificate that a port of a member shows to a client, and an error if it does not let it in.
func greeted(address string, config *tls.Config) (expires time.Time, err error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return time.Time{}, err
	}
	// With TLS 1.3 a client learns only by reading that it is refused; one that is let in has to say something first.
	if _, err := fmt.Fprint(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return time.Time{}, err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return time.Time{}, err
	}
	return conn.ConnectionState().PeerCertificates[0].NotAfter, nil
}

// Only members are answered, on both ports; and their certificates are replaced while they run.
func TestMembersAnswerOnlyMembers(t *testing.T) {
	t.Parallel()
	e := newEnsemble(t, 3)
	e.Lifetimes.Leaf = 12 * time.Second
	for i := range 3 {
		e.start(t, i)
	}
	e.ready(t, 0, 1, 2)
	e.voters(t, 0, 3)
	ports := []string{fmt.Sprintf("%s:%d", address(1), e.Port), fmt.Sprintf("%s:%d", address(1), e.Port+1)}
	mine := e.certificate(0).TLS()
	known, err := mine.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	known.ServerName, known.NextProtos = address(1), []string{"h2"}
	// By the authority of the members, with a name that is none of theirs.
	stranger := mine
	stranger.CertFile = filepath.Join(e.Root, "stranger", "member.pem")
	stranger.KeyFile = stranger.CertFile
	named, err := stranger.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	named.ServerName, named.NextProtos = address(1), []string{"h2"}
	// By an authority of its own, under the name of a member.
	forged := member.NewCertificate(member.CertificateConfig{Secrets: fake.NewClientset().CoreV1().Secrets(DefaultNamespace), Dir: filepath.Join(e.Root, "forged"), Name: memberName(0), Host: address(0), Lifetimes: member.DefaultLifetimes})
	if err := forged.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(e.Root, "forged", "member.pem"), filepath.Join(e.Root, "forged", "member.pem"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	for _, port := range ports {
		for who, config := range map[string]*tls.Config{"no certificate": {InsecureSkipVerify: true, NextProtos: []string{"h2"}}, "another authority": foreign, "another name": named} {
			if _, err := greeted(port, config); err == nil {
				t.Errorf("%s lets a client in that has %s", port, who)
			}
		}
	}
	first, err := greeted(ports[0], known)
	if err != nil {
		t.Fatalf("a member is not let in: %v", err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		now, err := greeted(ports[0], known)
		return err == nil && now.After(first), nil
	})
	if err != nil {
		t.Errorf("the certificate that expires at %v was not replaced: %v", first, err)
	}
	// The first ones have expired: connections between members are made by the new ones.
	e.kill(2)
	<-time.After(time.Until(first))
	e.start(t, 2)
	e.ready(t, 2)
	e.put(t, 2, "/by-new-certificates")
	e.has(t, "/by-new-certificates", 0, 1, 2)
	if info, err := os.Stat(filepath.Join(e.dir(1), "tls", "member.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("want the key readable by its owner only, got %v, %v", info, err)
	}
}
