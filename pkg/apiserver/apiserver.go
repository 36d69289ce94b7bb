// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apiserver/hosttemplate"
	rolloutsrest "sluice.dev/sluice/pkg/registry/rollouts/rest"
	"sluice.dev/sluice/pkg/registry/rollouts/rollout"
	"sluice.dev/sluice/pkg/registry/rollouts/rollouttree"
)

// ExtraConfig is what this server needs besides what every API server does.
type ExtraConfig struct {
	// Host is the cluster in which pods run. Its client has no throttle and forwards warnings.
	Host kubernetes.Interface
	// Writing is told of each Rollout that a request is about to store; nil if nobody wants to know.
	Writing func(context.Context, *rollouts.Rollout)
	// Gate wraps the handler of every request, on every listener: it is closed until the store is known to
	// be the one that owns the ReplicaSets of the host.
	Gate func(http.Handler) http.Handler
	// Deleted is told of each Rollout that has left the store.
	Deleted func(types.UID)
	// LeaderChanged is a channel that is closed when etcd has got another leader; nil if nobody can know. Writes
	// that were under way are not waited for then.
	LeaderChanged func() <-chan struct{}
	// Observer shows what the controller sees; plan and explain answer 503 if it is nil, and nobody is warned of Services
	// that are not there.
	Observer rollout.Observer
	// Trees is what rollouttrees are made of; they answer 503 if it is nil.
	Trees rollouttree.Source
	// Clock tells the verbs what time it is. Default: that of the machine.
	Clock clock.PassiveClock
	// Performed is told of each verb that was performed; nil if nobody wants to know.
	Performed func(*rollouts.Rollout, *rollouts.RolloutAction)
}

// Config is the configuration of a Server.
type Config struct {
	GenericConfig *genericapiserver.RecommendedConfig
	ExtraConfig   ExtraConfig
}

type completedConfig struct {
	GenericConfig genericapiserver.CompletedConfig
	ExtraConfig   *ExtraConfig
}

// CompletedConfig can be made by Config.Complete only.
type CompletedConfig struct {
	*completedConfig
}

// Server serves the API group.
type Server struct {
	GenericAPIServer *genericapiserver.GenericAPIServer
	// Rollouts is the storage beneath the API; it does not know the gate.
	Rollouts *rollout.Storage
}

// Complete fills in what was not set and can be derived.
func (c *Config) Complete() CompletedConfig {
	if c.ExtraConfig.Clock == nil {
		c.ExtraConfig.Clock = clock.RealClock{}
	}
	gate := c.ExtraConfig.Gate
	identity := authentication{}
	if header := c.GenericConfig.Authentication.RequestHeaderConfig; header != nil {
		identity.frontProxy = header.CAContentProvider
	}
	if c.GenericConfig.Authentication.Authenticator != nil {
		c.GenericConfig.Authentication.Authenticator = notingAuthenticator{c.GenericConfig.Authentication.Authenticator}
	}
	c.GenericConfig.ReadyzChecks = append(c.GenericConfig.ReadyzChecks, identity)
	c.GenericConfig.LongRunningFunc = withoutLimits(c.GenericConfig.LongRunningFunc)
	c.GenericConfig.BuildHandlerChainFunc = func(handler http.Handler, config *genericapiserver.Config) http.Handler {
		// The gate is outermost of ours, yet inside authentication and authorization: its answer names
		// Rollouts, which not everybody may know of.
		terminating := config.ShutdownInitiatedNotify()
		ours := gate(withStrictFields(withFieldManager(withRepeated(withPatchRemembered(handler)))))
		return withFarewell(identity.wrap(withCaller(genericapiserver.DefaultBuildHandlerChain(ours, config))), terminating)
	}
	return CompletedConfig{&completedConfig{GenericConfig: c.GenericConfig.Complete(), ExtraConfig: &c.ExtraConfig}}
}

// New returns a server that has the API group installed and is ready to be run.
func (c completedConfig) New() (*Server, error) {
	generic, err := c.GenericConfig.New("sluice-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	types, err := fieldTypes(c.GenericConfig.OpenAPIV3Config)
	if err != nil {
		return nil, err
	}
	templates := hosttemplate.New(c.ExtraConfig.Host)
	group, storage, err := rolloutsrest.StorageProvider{
		Rollout: rollout.Config{
			Scheme:     Scheme,
			Options:    explainedStorage{c.GenericConfig.RESTOptionsGetter, c.ExtraConfig.LeaderChanged},
			Templates:  templates,
			Revisions:  templates,
			Deleted:    c.ExtraConfig.Deleted,
			Performed:  c.ExtraConfig.Performed,
			Writing:    c.ExtraConfig.Writing,
			Observer:   c.ExtraConfig.Observer,
			Clock:      c.ExtraConfig.Clock,
			Types:      types,
			Authorizer: c.GenericConfig.Authorization.Authorizer,
			Admission:  c.GenericConfig.AdmissionControl,
		},
		Trees:          c.ExtraConfig.Trees,
		Codecs:         Codecs,
		Negotiated:     namingQuantities,
		ParameterCodec: ParameterCodec,
	}.New()
	if err != nil {
		return nil, err
	}
	if err := generic.InstallAPIGroup(group); err != nil {
		return nil, err
	}
	return &Server{GenericAPIServer: generic, Rollouts: storage}, nil
}
