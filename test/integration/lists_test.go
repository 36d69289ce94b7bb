// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// A list is written item by item: one that is written at once is in memory twice, and nobody gets anything of it until
// all of it is encoded. Over HTTP/1.1 it shows in the chunks of the answer.
func TestListsAreWrittenItemByItem(t *testing.T) {
	const items, size = 8, 64 << 10
	s := start(t, newNamespace(t), t.TempDir())
	for i := range items {
		r := newRollout(fmt.Sprint("large-", i))
		r.Spec.Replicas = ptr.To[int32](0)
		r.Annotations = map[string]string{"note": strings.Repeat("x", size)}
		if _, err := s.client.SluiceV1alpha1().Rollouts(metav1.NamespaceDefault).Create(t.Context(), r, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		whole, largest := s.chunks(t, "/apis/sluice.dev/v1alpha1/namespaces/default/rollouts", mediaType)
		if whole < items*size {
			t.Errorf("%s: the list has %d bytes, and its items have %d each", mediaType, whole, size)
		}
		if largest > 2*size {
			t.Errorf("%s: of %d bytes %d were written at once, and an item has some %d", mediaType, whole, largest, size)
		}
	}
}

// chunks is how large an answer is, and the largest of its chunks.
func (s *instance) chunks(t *testing.T, path, mediaType string) (whole, largest int64) {
	t.Helper()
	config, err := rest.TLSConfigFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"}
	connection, err := tls.Dial("tcp", s.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAccept-Encoding: identity\r\n\r\n", path, s.address, mediaType)
	reader := bufio.NewReader(connection)
	line := func() string {
		text, err := reader.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(text)
	}
	if status := line(); !strings.Contains(status, strconv.Itoa(http.StatusOK)) {
		t.Fatalf("%s: %s", path, status)
	}
	for line() != "" { // the header
	}
	for {
		chunk, err := strconv.ParseInt(line(), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if chunk == 0 {
			return whole, largest
		}
		whole, largest = whole+chunk, max(largest, chunk)
		if _, err := io.CopyN(io.Discard, reader, chunk); err != nil {
			t.Fatal(err)
		}
		line() // what ends a chunk
	}
}
