// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"

	"sluice.dev/sluice/pkg/apiserver/ownerguard"
)

// encrypted is what begins every value that was encrypted at rest.
var encrypted = []byte("k8s:enc:")

// compactKey is what the storage layer of API servers keeps in etcd, so that one of them compacts it.
const compactKey = "compact_rev_key"

// Reading says how the objects in a store are to be read.
type Reading struct {
	// Prefix is what the keys of all objects begin with, as --etcd-prefix has it.
	Prefix string
	// Resources are the stored resources, by the segment of the key after the prefix.
	Resources map[string]schema.GroupResource
	// RecordRoot is where the owner guard keeps its record.
	RecordRoot string
	// Decoder decodes stored objects.
	Decoder runtime.Decoder
	// Transformer decrypts the objects of a resource; nil if nothing is to be decrypted.
	Transformer func(schema.GroupResource) value.Transformer
}

// Report is what a snapshot was found to contain.
type Report struct {
	// Path is the file, SHA256 its checksum in hexadecimal, which is right.
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	// Revision is how far etcd had come, EtcdVersion the version of its storage.
	Revision    int64  `json:"revision"`
	EtcdVersion string `json:"etcdVersion,omitempty"`
	// Identity is that of the store, and HighWater the revision up to which it vouches for itself: what the owner guard
	// compares with the host. Both are empty of a store that never served.
	Identity  string `json:"identity,omitempty"`
	HighWater uint64 `json:"highWaterRevision,omitempty"`
	// Objects counts the objects by their kind, as Rollout.v1alpha1.sluice.dev. All of them were decoded.
	Objects map[string]int `json:"objects"`
	// Encrypted counts the objects that are encrypted, by provider and key, as aescbc:v1:key1. Without the configuration
	// of the providers they are not among Objects.
	Encrypted map[string]int `json:"encrypted,omitempty"`
	// Unreadable says of every object that cannot be read why.
	Unreadable []string `json:"unreadable,omitempty"`
	// OtherKeys is how many keys are not of this server, as in an etcd that is shared.
	OtherKeys int `json:"otherKeys"`
}

// Verify reads all of a snapshot: the checksum, the structure of the database, and every object in it, which it decodes as
// the server would. It returns what it has found also with an error that says what cannot be read.
func Verify(ctx context.Context, path string, reading Reading) (*Report, error) {
	sum, err := Checksum(path)
	if err != nil {
		return nil, err
	}
	report := &Report{Path: path, SHA256: fmt.Sprintf("%x", sum), Objects: map[string]int{}, Encrypted: map[string]int{}}
	err = readContents(path, func(c *contents) error {
		report.Revision, report.EtcdVersion = c.revision, c.version
		return report.fill(ctx, c, reading)
	})
	if err == nil && len(report.Unreadable) > 0 {
		err = fmt.Errorf("%d objects in snapshot %s cannot be read: %s", len(report.Unreadable), path, report.Unreadable[0])
	}
	return report, err
}

func (r *Report) fill(ctx context.Context, c *contents, reading Reading) error {
	record, err := c.value(ownerguard.RecordKey(reading.RecordRoot))
	if err != nil {
		return err
	}
	if record != nil {
		parsed, err := ownerguard.ParseRecord(record)
		if err != nil {
			return fmt.Errorf("the identity of the store, etcd key %s, cannot be read: %w", ownerguard.RecordKey(reading.RecordRoot), err)
		}
		r.Identity, r.HighWater = parsed.Identity, parsed.Revision
	}
	objects := strings.TrimSuffix(reading.Prefix, "/") + "/"
	for _, key := range c.keys("") {
		segment, _, _ := strings.Cut(strings.TrimPrefix(key, objects), "/")
		resource, isObject := reading.Resources[segment]
		switch {
		case key == compactKey, strings.HasPrefix(key, strings.TrimSuffix(reading.RecordRoot, "/")+"/"):
			continue
		case !strings.HasPrefix(key, objects) || !isObject:
			r.OtherKeys++
			continue
		}
		stored, err := c.value(key)
		if err != nil {
			return err
		}
		if err := r.count(ctx, key, stored, resource, reading); err != nil {
			r.Unreadable = append(r.Unreadable, fmt.Sprintf("%s: %v", key, err))
		}
	}
	return nil
}

// count decodes one object and counts it.
func (r *Report) count(ctx context.Context, key string, stored []byte, resource schema.GroupResource, reading Reading) error {
	if bytes.HasPrefix(stored, encrypted) {
		r.Encrypted[providerOf(stored)]++
		if reading.Transformer == nil {
			return nil
		}
	}
	if reading.Transformer != nil {
		var err error
		if stored, _, err = reading.Transformer(resource).TransformFromStorage(ctx, stored, value.DefaultContext(key)); err != nil {
			return err
		}
	}
	_, kind, err := reading.Decoder.Decode(stored, nil, nil)
	if err != nil {
		return err
	}
	r.Objects[fmt.Sprintf("%s.%s.%s", kind.Kind, kind.Version, kind.Group)]++
	return nil
}

// providerOf is the provider, its version and the name of the key that a value is encrypted with.
func providerOf(stored []byte) string {
	parts := bytes.SplitN(bytes.TrimPrefix(stored, encrypted), []byte(":"), 4)
	if len(parts) < 4 {
		return "unknown"
	}
	return string(bytes.Join(parts[:3], []byte(":")))
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("snapshot   %s", r.Path)
	add("sha256     %s, as appended", r.SHA256)
	add("etcd       revision %d, storage version %s", r.Revision, orNone(r.EtcdVersion))
	if r.Identity == "" {
		add("store      without an identity: it never answered a request")
	} else {
		add("store      %s, complete up to revision %d", r.Identity, r.HighWater)
	}
	decoded := 0
	for _, kind := range slices.Sorted(maps.Keys(r.Objects)) {
		add("objects    %d %s", r.Objects[kind], kind)
		decoded += r.Objects[kind]
	}
	sealed := 0
	for _, provider := range slices.Sorted(maps.Keys(r.Encrypted)) {
		add("encrypted  %d by %s", r.Encrypted[provider], provider)
		sealed += r.Encrypted[provider]
	}
	if sealed > 0 && decoded < sealed && len(r.Unreadable) == 0 {
		add("           these were not decoded: give --encryption-provider-config to do so")
	}
	if decoded+sealed == 0 {
		add("objects    none")
	}
	for _, line := range r.Unreadable {
		add("UNREADABLE %s", line)
	}
	if r.OtherKeys > 0 {
		add("other keys %d, of something else in the same etcd", r.OtherKeys)
	}
	_, err := io.WriteString(out, strings.Join(lines, "\n")+"\n")
	if err != nil {
		return errors.Join(errors.New("printing the report"), err)
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
