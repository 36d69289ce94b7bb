// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package ownerguard

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

const hostNamespace = "sluice-system"

var rolloutKind = schema.GroupKind{Group: "sluice.dev", Kind: "Rollout"}

// fakeHost is as much of a kube-apiserver as the guard talks to: one ConfigMap and the metadata of
// ReplicaSets, with optimistic locking, preconditions and pages of two.
type fakeHost struct {
	*httptest.Server

	mu          sync.Mutex
	version     int
	record      *corev1.ConfigMap
	replicaSets map[string]*metav1.PartialObjectMetadata
	down        bool
	writes      []string
	// beforePatch, if set, is called once, before a patch is applied.
	beforePatch func(*metav1.PartialObjectMetadata)
}

func newFakeHost(t *testing.T) *fakeHost {
	h := &fakeHost{replicaSets: map[string]*metav1.PartialObjectMetadata{}}
	mux := http.NewServeMux()
	const configMaps = "/api/v1/namespaces/" + hostNamespace + "/configmaps"
	mux.HandleFunc("GET "+configMaps+"/"+ConfigMapName, h.locked(h.getRecord))
	mux.HandleFunc("POST "+configMaps, h.locked(h.createRecord))
	mux.HandleFunc("PUT "+configMaps+"/"+ConfigMapName, h.locked(h.updateRecord))
	mux.HandleFunc("GET /apis/apps/v1/replicasets", h.locked(h.listReplicaSets))
	mux.HandleFunc("PATCH /apis/apps/v1/namespaces/{namespace}/replicasets/{name}", h.locked(h.patchReplicaSet))
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

func (h *fakeHost) client(t *testing.T) *Host {
	t.Helper()
	config := &rest.Config{Host: h.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return NewHost(typed.CoreV1(), meta, hostNamespace, rolloutKind)
}

// locked makes a handler of a function that returns what to answer.
func (h *fakeHost) locked(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		answer, err := do(r)
		if h.down {
			err = apierrors.NewInternalError(fmt.Errorf("the host is down"))
		} else if r.Method != http.MethodGet && err == nil {
			h.writes = append(h.writes, r.Method+" "+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		}
		if err != nil {
			status := err.(apierrors.APIStatus).Status()
			status.APIVersion, status.Kind = "v1", "Status"
			w.WriteHeader(int(status.Code))
			answer = status
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (h *fakeHost) nextVersion() string {
	h.version++
	return strconv.Itoa(h.version)
}

func (h *fakeHost) getRecord(*http.Request) (any, error) {
	if h.record == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), ConfigMapName)
	}
	return h.record, nil
}

func (h *fakeHost) createRecord(r *http.Request) (any, error) {
	if h.record != nil {
		return nil, apierrors.NewAlreadyExists(corev1.Resource("configmaps"), ConfigMapName)
	}
	return h.storeRecord(r)
}

func (h *fakeHost) updateRecord(r *http.Request) (any, error) {
	if h.record == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), ConfigMapName)
	}
	return h.storeRecord(r)
}

func (h *fakeHost) storeRecord(r *http.Request) (any, error) {
	cm := &corev1.ConfigMap{}
	if err := json.NewDecoder(r.Body).Decode(cm); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if h.record != nil && cm.ResourceVersion != h.record.ResourceVersion {
		return nil, apierrors.NewConflict(corev1.Resource("configmaps"), ConfigMapName, fmt.Errorf("it has changed"))
	}
	if h.down {
		return nil, nil
	}
	cm.Namespace, cm.ResourceVersion = hostNamespace, h.nextVersion()
	h.record = cm
	return cm, nil
}

func (h *fakeHost) listReplicaSets(r *http.Request) (any, error) {
	const page = 2
	if r.URL.Query().Get("limit") == "" {
		return nil, apierrors.NewBadRequest("want pages")
	}
	names := slices.Sorted(maps.Keys(h.replicaSets))
	start, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	end := min(start+page, len(names))
	list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
	for _, name := range names[start:end] {
		list.Items = append(list.Items, *h.replicaSets[name])
	}
	if end < len(names) {
		list.Continue = strconv.Itoa(end)
	}
	return list, nil
}

func (h *fakeHost) patchReplicaSet(r *http.Request) (any, error) {
	var patch struct{ Metadata metav1.ObjectMeta }
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != string(types.MergePatchType) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("want a merge patch: %v", err))
	}
	rs := h.replicaSets[r.PathValue("name")]
	if h.beforePatch != nil {
		h.beforePatch(rs)
		h.beforePatch = nil
	}
	if patch.Metadata.UID != rs.UID || patch.Metadata.ResourceVersion != rs.ResourceVersion {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "replicasets"}, rs.Name, fmt.Errorf("it has changed"))
	}
	rs.OwnerReferences, rs.ResourceVersion = patch.Metadata.OwnerReferences, h.nextVersion()
	return rs, nil
}

// addReplicaSet adds one with the owners, which are UIDs of Rollouts named after them.
func (h *fakeHost) addReplicaSet(name string, owners ...types.UID) *metav1.PartialObjectMetadata {
	rs := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("rs-" + name)},
	}
	for _, uid := range owners {
		rs.OwnerReferences = append(rs.OwnerReferences, metav1.OwnerReference{APIVersion: "sluice.dev/v1alpha1", Kind: "Rollout", Name: string(uid), UID: uid})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rs.ResourceVersion = h.nextVersion()
	h.replicaSets[name] = rs
	return rs
}

func (h *fakeHost) change(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

// takeWrites returns what was written since the last call.
func (h *fakeHost) takeWrites() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.writes
	h.writes = nil
	return w
}

func (h *fakeHost) ownersOf(name string) []types.UID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var uids []types.UID
	for _, ref := range h.replicaSets[name].OwnerReferences {
		uids = append(uids, ref.UID)
	}
	return uids
}
