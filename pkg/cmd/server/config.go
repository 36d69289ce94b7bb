// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	quota "k8s.io/apiserver/pkg/quota/v1/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/apiserver/hosttemplate"
	generatedopenapi "sluice.dev/sluice/pkg/generated/openapi"
	"sluice.dev/sluice/pkg/version"
)

// userAgent names the server in the audit logs of the host.
var userAgent = "sluice-apiserver/" + version.Version

// genericConfig applies the options to a configuration of the generic server, in the order in which they
// depend on each other. The storage must be reachable by now.
func (o *Options) genericConfig() (*genericapiserver.RecommendedConfig, error) {
	config := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	namer := openapi.NewDefinitionNamer(apiserver.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIConfig.Info.Title, config.OpenAPIConfig.Info.Version = "Sluice", version.Version
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config.Info.Title, config.OpenAPIV3Config.Info.Version = "Sluice", version.Version

	recommended := o.Recommended
	if err := o.ServerRun.ApplyTo(&config.Config); err != nil {
		return nil, err
	}
	if err := o.applyStorage(config); err != nil {
		return nil, err
	}
	if err := recommended.SecureServing.ApplyToConfig(&config.Config); err != nil {
		return nil, err
	}
	observeServing(config.SecureServing.Cert)
	if err := recommended.Authentication.ApplyTo(&config.Authentication, config.SecureServing, config.OpenAPIConfig); err != nil {
		return nil, err
	}
	if err := recommended.Authorization.ApplyTo(&config.Authorization); err != nil {
		return nil, err
	}
	if err := o.applyAudit(&config.Config); err != nil {
		return nil, err
	}
	if err := recommended.CoreAPI.ApplyTo(config); err != nil {
		return nil, err
	}
	config.ClientConfig.UserAgent = userAgent
	// Before this, the client of the host would get a trace for each request that belongs to none.
	if err := o.applyTraces(&config.Config); err != nil {
		return nil, err
	}
	return config, o.applyAdmission(config)
}

// applyStorage stores protobuf. The shortcut of the recommended options would ignore the media type.
func (o *Options) applyStorage(config *genericapiserver.RecommendedConfig) error {
	etcd := *o.Recommended.Etcd
	etcd.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	if err := etcd.ApplyWithStorageFactoryTo(storageFactory(etcd), &config.Config); err != nil {
		return err
	}
	// A restart brings no quorum back: a store that cannot be reached makes the server unready, and not dead.
	config.LivezChecks = slices.DeleteFunc(config.LivezChecks, func(check healthz.HealthChecker) bool { return check.Name() == "etcd" })
	return nil
}

// storageFactory says where objects are stored, and in which form.
func storageFactory(etcd genericoptions.EtcdOptions) *serverstorage.DefaultStorageFactory {
	return serverstorage.NewDefaultStorageFactory(etcd.StorageConfig, etcd.DefaultStorageMediaType, apiserver.Codecs,
		serverstorage.NewDefaultResourceEncodingConfig(apiserver.Scheme), serverstorage.NewResourceConfig(), nil)
}

func (o *Options) applyAdmission(config *genericapiserver.RecommendedConfig) error {
	host, err := kubernetes.NewForConfig(config.ClientConfig)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config.ClientConfig)
	if err != nil {
		return err
	}
	if err := o.Recommended.Features.ApplyTo(&config.Config, host, config.SharedInformerFactory); err != nil {
		return err
	}
	options := *o.Recommended.Admission
	unserved, err := unservedPlugins(host.Discovery())
	if err != nil {
		return fmt.Errorf("the host cluster does not say which admission policies it serves: %w", err)
	}
	for _, plugin := range unserved {
		klog.InfoS("Admission plugin left out, since the host cluster does not serve its policies", "plugin", plugin)
		options.DisablePlugins = append(options.DisablePlugins, plugin)
	}
	return options.ApplyTo(&config.Config, config.SharedInformerFactory, host, objects, o.Recommended.FeatureGate, config.EffectiveVersion,
		admission.PluginInitializers{quotaInitializer{}})
}

// quotaInitializer makes the quota plugin count every kind of object that a ResourceQuota names as
// count/rollouts.sluice.dev.
type quotaInitializer struct{}

// Initialize gives the quota plugin its configuration.
func (quotaInitializer) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		wants.SetQuotaConfiguration(quota.NewConfiguration(nil, nil))
	}
}

// hostConfig is how the server reaches the host for its own purposes: in protobuf, with the host's warnings
// handed on, and without a throttle of its own, since the host's priority and fairness does that better.
func hostConfig(config *rest.Config) *rest.Config {
	host := rest.CopyConfig(config)
	host.QPS = -1
	host.ContentType = runtime.ContentTypeProtobuf
	host.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	host.WarningHandlerWithContext = hosttemplate.ForwardWarnings{}
	return host
}
