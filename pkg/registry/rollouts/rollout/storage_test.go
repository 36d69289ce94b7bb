// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	namer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	registrytest "k8s.io/apiserver/pkg/registry/generic/testing"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	etcd3testing "k8s.io/apiserver/pkg/storage/etcd3/testing"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/kube-openapi/pkg/builder3"
	openapiutil "k8s.io/kube-openapi/pkg/util"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apis/rollouts/install"
	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/engine"
	generatedopenapi "sluice.dev/sluice/pkg/generated/openapi"
)

// namespace is the one that the generic registry tests use.
const namespace = "default"

// hostThatDefaults stands for a host that accepts every template and defaults the restart policy.
type hostThatDefaults struct {
	asked int
	hash  string
	err   error
	// window is that of every resolution.
	window int32
}

func (h *hostThatDefaults) Resolve(_ context.Context, rollout, _ *rollouts.Rollout) (*corev1.PodTemplateSpec, engine.Resolution, error) {
	h.asked++
	if h.err != nil {
		return nil, engine.Resolution{}, h.err
	}
	template := rollout.Spec.Template.DeepCopy()
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	hash := h.hash
	if hash == "" {
		hash = "hash-of-" + template.Spec.Containers[0].Image
	}
	return template, engine.Resolution{Hash: hash, Revision: rollout.Status.Revision + 1, Window: h.window}, nil
}

// fixture is the storage on a real etcd.
type fixture struct {
	*Storage
	host    *hostThatDefaults
	seen    *hostSeen
	rights  *rights
	plugins *plugins
	// performed are the actions that were told of, by as many calls at once as a test makes.
	performing sync.Mutex
	performed  []rollouts.RolloutAction
	deleted    []types.UID
	clock      *clocktesting.FakePassiveClock
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme)
	server, config := etcd3testing.NewUnsecuredEtcd3TestClientServer(t)
	t.Cleanup(func() { server.Terminate(t) })
	config.Codec = codecs.LegacyCodec(v1alpha1.SchemeGroupVersion)
	f := &fixture{host: &hostThatDefaults{}, seen: &hostSeen{}, rights: &rights{}, plugins: &plugins{}, clock: clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))}
	storage, err := NewStorage(Config{
		Scheme: scheme,
		Options: generic.RESTOptions{
			StorageConfig:           storageConfig(config),
			Decorator:               generic.UndecoratedStorage,
			DeleteCollectionWorkers: 1,
			ResourcePrefix:          "rollouts",
		},
		Templates:  f.host,
		Deleted:    func(uid types.UID) { f.deleted = append(f.deleted, uid) },
		Observer:   f.seen,
		Authorizer: authorizer.AuthorizerFunc(f.rights.Authorize),
		Admission:  f.plugins,
		Revisions:  f.seen,
		Performed: func(_ *rollouts.Rollout, action *rollouts.RolloutAction) {
			f.performing.Lock()
			defer f.performing.Unlock()
			f.performed = append(f.performed, *action)
		},
		Clock: f.clock,
		Types: fieldTypes(t, scheme),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(storage.Rollout.DestroyFunc)
	f.Storage = storage
	return f
}

// config is what all storages share.
func (f *fixture) config() *Config { return f.Rollout.config }

// fieldTypes are described by the OpenAPI schema that is served.
func fieldTypes(t *testing.T, scheme *runtime.Scheme) managedfields.TypeConverter {
	t.Helper()
	config := genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer.NewDefinitionNamer(scheme))
	definitions, err := builder3.BuildOpenAPIDefinitionsForResources(config, openapiutil.GetCanonicalTypeName(&v1alpha1.Rollout{}))
	if err != nil {
		t.Fatal(err)
	}
	types, err := managedfields.NewTypeConverter(definitions, false)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func storageConfig(config *storagebackend.Config) *storagebackend.ConfigForResource {
	return config.ForResource(rollouts.Resource("rollouts"))
}

func newRollout() *rollouts.Rollout {
	labels := map[string]string{"app": "web"}
	return &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace},
		Spec: rollouts.RolloutSpec{
			Replicas:                ptr.To[int32](5),
			Selector:                &metav1.LabelSelector{MatchLabels: labels},
			RevisionHistoryLimit:    ptr.To[int32](10),
			ProgressDeadlineSeconds: ptr.To[int32](600),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "blue"}}},
			},
			Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
				MaxSurge:       ptr.To(intstr.FromString("25%")),
				MaxUnavailable: ptr.To(intstr.FromString("25%")),
				Steps:          []rollouts.CanaryStep{{SetWeight: ptr.To[int32](20)}, {Pause: &rollouts.RolloutPause{}}},
			}},
		},
	}
}

func (f *fixture) registryTest(t *testing.T) *registrytest.Tester {
	return registrytest.New(t, f.Rollout.Store)
}

func TestCreateFollowsTheRulesOfTheAPI(t *testing.T) {
	valid := newRollout()
	valid.ObjectMeta = metav1.ObjectMeta{}
	newFixture(t).registryTest(t).TestCreate(valid,
		&rollouts.Rollout{Spec: rollouts.RolloutSpec{Selector: &metav1.LabelSelector{}}})
}

func TestUpdateFollowsTheRulesOfTheAPI(t *testing.T) {
	newFixture(t).registryTest(t).TestUpdate(newRollout(),
		func(obj runtime.Object) runtime.Object {
			obj.(*rollouts.Rollout).Spec.Replicas = ptr.To[int32](7)
			return obj
		},
		func(obj runtime.Object) runtime.Object {
			obj.(*rollouts.Rollout).Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
			return obj
		})
}

func TestDeleteGetListAndWatchFollowTheRulesOfTheAPI(t *testing.T) {
	newFixture(t).registryTest(t).TestDelete(newRollout())
	newFixture(t).registryTest(t).TestGet(newRollout())
	newFixture(t).registryTest(t).TestList(newRollout())
	newFixture(t).registryTest(t).TestWatch(newRollout(),
		[]labels.Set{{}}, []labels.Set{{"not": "there"}},
		[]fields.Set{{"metadata.name": "web"}}, []fields.Set{{"metadata.name": "other"}, {"status.phase": "Healthy"}})
}

// create stores a Rollout that somebody made; its fields have an owner, as the generic server sees to.
func (f *fixture) create(t *testing.T, rollout *rollouts.Rollout) *rollouts.Rollout {
	t.Helper()
	owned, err := f.Verbs["pause"].(*VerbREST).owners.changed(&rollouts.Rollout{}, rollout, "creator")
	if err != nil {
		t.Fatal(err)
	}
	obj, err := f.Rollout.Create(as("creator"), owned, nil, &metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*rollouts.Rollout)
}

func inNamespace() context.Context {
	return genericapirequest.WithNamespace(genericapirequest.NewContext(), namespace)
}

// update stores what change makes of the stored Rollout, as a client's PUT.
func (f *fixture) update(t *testing.T, change func(*rollouts.Rollout)) (*rollouts.Rollout, error) {
	t.Helper()
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		rollout := old.DeepCopyObject().(*rollouts.Rollout)
		change(rollout)
		return rollout, nil
	})
	obj, _, err := f.Rollout.Update(inNamespace(), "web", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return obj.(*rollouts.Rollout), nil
}

func TestTheTemplateIsStoredAsTheHostDefaultsIt(t *testing.T) {
	f := newFixture(t)
	created := f.create(t, newRollout())
	if got := created.Spec.Template.Spec.RestartPolicy; got != corev1.RestartPolicyAlways {
		t.Errorf("restartPolicy is %q, want the host's default", got)
	}
	if created.Status.CurrentPodHash != "hash-of-blue" || created.Status.Revision != 1 {
		t.Errorf("stamped hash %q and revision %d, want those of the host's answer", created.Status.CurrentPodHash, created.Status.Revision)
	}
	if created.Status.Phase != rollouts.RolloutPhaseProgressing || created.Status.ObservedGeneration != 0 {
		t.Errorf("status begins as %s with observedGeneration %d, want Progressing, not observed", created.Status.Phase, created.Status.ObservedGeneration)
	}
}

func TestOnlyAChangedTemplateAsksTheHostAndMakesARevision(t *testing.T) {
	undefaulted := func(r *rollouts.Rollout) { r.Spec.Template.Spec.RestartPolicy = "" }
	tests := []struct {
		name           string
		change         func(*rollouts.Rollout)
		asked          int
		generation     int64
		revision       int64
		currentPodHash string
	}{
		{"a change of scale", func(r *rollouts.Rollout) { r.Spec.Replicas = ptr.To[int32](9) }, 0, 2, 1, "hash-of-blue"},
		{"labels of the Rollout", func(r *rollouts.Rollout) { r.Labels = map[string]string{"team": "a"} }, 0, 1, 1, "hash-of-blue"},
		{"the manifest as first written, without the defaults", undefaulted, 1, 1, 1, "hash-of-blue"},
		{"another image", func(r *rollouts.Rollout) { undefaulted(r); r.Spec.Template.Spec.Containers[0].Image = "red" }, 1, 2, 2, "hash-of-red"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.create(t, newRollout())
			f.host.asked = 0
			updated, err := f.update(t, test.change)
			if err != nil {
				t.Fatal(err)
			}
			if f.host.asked != test.asked {
				t.Errorf("asked the host %d times, want %d", f.host.asked, test.asked)
			}
			if updated.Generation != test.generation || updated.Status.Revision != test.revision || updated.Status.CurrentPodHash != test.currentPodHash {
				t.Errorf("generation %d, revision %d, hash %s; want %d, %d, %s", updated.Generation, updated.Status.Revision,
					updated.Status.CurrentPodHash, test.generation, test.revision, test.currentPodHash)
			}
		})
	}
}

func TestATemplateThatTheHostRefusesIsNotStored(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	f.host.err = apierrors.NewTimeoutError("the cluster did not answer", 1)
	_, err := f.update(t, func(r *rollouts.Rollout) { r.Spec.Template.Spec.Containers[0].Image = "red" })
	if !apierrors.IsTimeout(err) {
		t.Fatalf("got %v, want the host's Timeout", err)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds == 0 {
		t.Error("the answer does not say when to retry")
	}
	stored, err := f.Rollout.Get(inNamespace(), "web", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := stored.(*rollouts.Rollout).Spec.Template.Spec.Containers[0].Image; image != "blue" {
		t.Errorf("stored image %q although the host did not accept it", image)
	}
}

func TestAReplacementWithoutUIDIsResolvedToo(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	updated, err := f.update(t, func(r *rollouts.Rollout) {
		r.ObjectMeta = metav1.ObjectMeta{Name: r.Name}
		r.Spec.Template.Spec.RestartPolicy = ""
		r.Spec.Template.Spec.Containers[0].Image = "red"
	})
	if err != nil {
		t.Fatal(err)
	}
	if updated.Status.CurrentPodHash != "hash-of-red" || updated.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("stored hash %s and restartPolicy %q, want those of the host's answer", updated.Status.CurrentPodHash, updated.Spec.Template.Spec.RestartPolicy)
	}
}

func TestCreationByServerSideApplyIsResolvedToo(t *testing.T) {
	f := newFixture(t)
	info := rest.DefaultUpdatedObjectInfo(newRollout())
	obj, created, err := f.Rollout.Update(inNamespace(), "web", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, true, &metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rollout := obj.(*rollouts.Rollout)
	if !created || rollout.Status.CurrentPodHash != "hash-of-blue" || rollout.Status.Revision != 1 || rollout.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("created %v with hash %s, revision %d, restartPolicy %q; want those of the host's answer", created,
			rollout.Status.CurrentPodHash, rollout.Status.Revision, rollout.Spec.Template.Spec.RestartPolicy)
	}
}

func TestAConfigurationThatCannotBeAppliedIsTheClientsMistake(t *testing.T) {
	f := newFixture(t)
	f.create(t, newRollout())
	info := rest.DefaultUpdatedObjectInfo(nil, func(context.Context, runtime.Object, runtime.Object) (runtime.Object, error) {
		return nil, errors.New(".spec.replica: field not declared in schema")
	})
	for name, served := range map[string]rest.Updater{"rollouts": f.Rollout, "rollouts/scale": f.Scale, "rollouts/status": f.Status} {
		_, _, err := served.Update(inNamespace(), "web", info, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, true, &metav1.UpdateOptions{})
		if !apierrors.IsBadRequest(err) {
			t.Errorf("%s: got %v, want BadRequest", name, err)
		}
	}
}

func TestTheStatusInTheBodyOfACreationDoesNotCount(t *testing.T) {
	f := newFixture(t)
	body := newRollout()
	body.Status = rollouts.RolloutStatus{Revision: 7, StableRS: "forged"}
	if created := f.create(t, body); created.Status.Revision != 1 || created.Status.StableRS != "" {
		t.Errorf("stored revision %d and stable %q, want 1 and none", created.Status.Revision, created.Status.StableRS)
	}
}

func TestWhatIsInvalidInItselfIsNotAskedOfTheHost(t *testing.T) {
	f := newFixture(t)
	bad := newRollout()
	bad.Spec.Replicas = ptr.To[int32](-1)
	if _, err := f.Rollout.Create(inNamespace(), bad, rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want Invalid", err)
	}
	if f.host.asked != 0 {
		t.Error("the host was asked about a Rollout that is refused anyway")
	}
}

func TestADeletionIsRemembered(t *testing.T) {
	f := newFixture(t)
	created := f.create(t, newRollout())
	if _, _, err := f.Rollout.Delete(inNamespace(), "web", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if len(f.deleted) != 0 {
		t.Fatal("a dry run was remembered as a deletion")
	}
	if _, _, err := f.Rollout.Delete(inNamespace(), "web", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(f.deleted) != 1 || f.deleted[0] != created.UID {
		t.Errorf("remembered %v, want %s", f.deleted, created.UID)
	}
}
