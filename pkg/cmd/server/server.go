// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/controller/rollout"
	"sluice.dev/sluice/pkg/generated/clientset/versioned"
	"sluice.dev/sluice/pkg/version"
)

// tombstoneTimeout is how long a deletion is remembered for, at most, before that is given up: it only
// spares an operator a question after a disaster.
const tombstoneTimeout = 5 * time.Second

// NewCommand returns the command sluice-apiserver. It runs until ctx is done.
func NewCommand(ctx context.Context) *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:   "sluice-apiserver",
		Short: "Serve rollouts.sluice.dev and run its controller",
		Long: "sluice-apiserver is an aggregated API server: it serves the API group sluice.dev to the Kubernetes API server\n" +
			"of a cluster, keeps its objects in an etcd of its own, and turns them into ReplicaSets in that cluster.\n" +
			"sluice-apiserver snapshot --help tells of copies of that etcd.",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			// From here on the versions and feature gates are final.
			return compatibility.DefaultComponentGlobalsRegistry.Set()
		},
		RunE: func(*cobra.Command, []string) error {
			if err := logsapi.ValidateAndApply(options.Logs, nil); err != nil {
				return err
			}
			options.Complete()
			if err := options.Validate(); err != nil {
				return err
			}
			return options.Run(ctx)
		},
	}
	sets := options.Flags()
	globalflag.AddGlobalFlags(sets.FlagSet("global"), command.Name(), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	columns, _, _ := term.TerminalSize(command.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(command, sets, columns)
	command.AddCommand(newSnapshotCommand(ctx))
	return command
}

// Run serves until ctx is done, or until something that it cannot do without has failed. The embedded etcd
// is up before anything else and down after everything else.
func (o *Options) Run(ctx context.Context) error {
	setQuota(0)
	if !o.EmbedsEtcd() {
		return o.serve(ctx)
	}
	setQuota(float64(o.EtcdQuotaBytes))
	if err := o.restoreIfAsked(ctx); err != nil {
		return err
	}
	etcd, err := o.startEtcd(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	// Others lead from the moment on at which this server is told to end: it goes on serving for a while.
	handed := make(chan struct{})
	goesOn := context.AfterFunc(ctx, func() {
		defer close(handed)
		etcd.HandOver()
	})
	defer func() {
		if !goesOn() {
			<-handed
		}
	}()
	o.Recommended.Etcd.StorageConfig.Transport.ServerList, o.embedded = etcd.Endpoints(), true
	if o.alone = o.Member.Name == ""; !o.alone {
		o.leaderChanged = etcd.LeaderChanged
	}
	serving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-etcd.Err():
			cancel(fmt.Errorf("the embedded etcd failed: %w", err))
		case <-serving.Done():
		}
	}()
	err = o.serve(serving)
	if cause := context.Cause(serving); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// startEtcd starts the embedded etcd, alone or as a member of a cluster.
func (o *Options) startEtcd(ctx context.Context) (*EmbeddedEtcd, error) {
	if o.Member.Name == "" {
		return StartEmbeddedEtcd(ctx, o.DataDir, o.EtcdQuotaBytes)
	}
	return o.startMember(ctx)
}

// serve runs the API server with all that runs beside it.
func (o *Options) serve(ctx context.Context) error {
	if err := o.useOwnCertificate(ctx); err != nil {
		return err
	}
	generic, err := o.genericConfig()
	if err != nil {
		return err
	}
	clients, err := o.connect(generic)
	if err != nil {
		return err
	}
	defer clients.Close()
	origins := apiserver.NewOrigins()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	gate := ownerguard.NewGate(rollouts.GroupName)
	var server *apiserver.Server
	guard := ownerguard.New(ownerguard.Config{
		Gate:           gate,
		Store:          clients.store,
		Host:           ownerguard.NewHost(clients.host.CoreV1(), clients.metadata, o.Namespace, rollouts.Kind("Rollout")),
		LiveRollouts:   func(ctx context.Context) (map[types.UID]string, error) { return server.Rollouts.Rollout.UIDs(ctx) },
		AcceptDataLoss: o.AcceptDataLoss,
		Clustered:      !o.alone,
		Replaced:       end,
	})
	acting := apiserver.NewActing(gate, rollout.Config{
		Identity:       o.identity(),
		Rollouts:       clients.rollouts,
		Host:           clients.host,
		Namespace:      o.Namespace,
		LeaderElection: o.LeaderElection,
		EnsureMirrored: guard.Mirror().Ensure,
		NoteMirrored:   guard.Mirror().Note,
		TracerProvider: generic.TracerProvider,
		Origin:         origins.Of,
		Resign:         ctx.Done(),
		Clock:          o.Clock,
	})
	config := &apiserver.Config{
		GenericConfig: generic,
		ExtraConfig: apiserver.ExtraConfig{
			Host:          clients.host,
			Writing:       origins.Note,
			Gate:          gate.Wrap,
			Deleted:       remember(ctx, guard),
			LeaderChanged: o.leaderChanged,
			Observer:      acting,
			Trees:         acting.Source(),
			Clock:         o.Clock,
			Performed:     apiserver.NewVerbEvents(ctx, clients.host),
		},
	}
	if server, err = config.Complete().New(); err != nil {
		return err
	}
	stopSnapshots, err := o.takeSnapshots(ctx, gate)
	if err != nil {
		return err
	}
	defer stopSnapshots()
	err = run(ctx, server.GenericAPIServer, gate, guard, acting)
	if cause := context.Cause(ctx); errors.Is(cause, ownerguard.ErrStoreReplaced) {
		return cause
	}
	return err
}

// identity is how this server is known in the Lease: by the name of the member, if it is one. Two processes never have
// the same.
func (o *Options) identity() string {
	if o.Member.Name == "" {
		return ""
	}
	return o.Member.Name + "_" + string(uuid.NewUUID())
}

// run serves, with the guard and the controller beside it, and waits for these at the end, so that the
// controller's Lease is free for the next replica.
func run(ctx context.Context, server *genericapiserver.GenericAPIServer, gate *ownerguard.Gate, guard *ownerguard.Guard, acting *apiserver.Acting) error {
	if err := server.AddReadyzChecks(gate, acting); err != nil {
		return err
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	server.AddPostStartHookOrDie("owner-guard", func(hook genericapiserver.PostStartHookContext) error {
		beside.Go(func() { guard.Run(hook) })
		return nil
	})
	server.AddPostStartHookOrDie("rollout-controller", func(hook genericapiserver.PostStartHookContext) error {
		beside.Go(func() {
			if err := acting.Run(hook); err != nil {
				klog.FromContext(hook).Error(err, "The controller cannot run")
			}
		})
		return nil
	})
	return server.PrepareRun().RunWithContext(ctx)
}

// remember leaves a tombstone for a deleted Rollout, so that its ReplicaSets do not look orphaned by a
// disaster if they outlive it.
func remember(ctx context.Context, guard *ownerguard.Guard) func(types.UID) {
	return func(uid types.UID) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), tombstoneTimeout)
		defer cancel()
		if err := guard.Tombstones().Add(bounded, uid); err != nil {
			klog.FromContext(ctx).Error(err, "A deletion could not be remembered", "uid", uid)
		}
	}
}

// clients are the server's connections.
type clients struct {
	host     kubernetes.Interface
	metadata metadata.Interface
	rollouts versioned.Interface
	store    *ownerguard.Store
	etcd     io.Closer
}

// Close ends the connections that have an end.
func (c *clients) Close() {
	if err := c.etcd.Close(); err != nil {
		klog.Background().Error(err, "Closing the connection to etcd")
	}
}

// connect makes the clients: to the host, to ourselves in process, and to etcd for our own records.
func (o *Options) connect(generic *genericapiserver.RecommendedConfig) (*clients, error) {
	hostREST := hostConfig(generic.ClientConfig)
	hostREST.Wrap(traced(generic.TracerProvider))
	host, err := kubernetes.NewForConfig(hostREST)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(hostREST)
	if err != nil {
		return nil, err
	}
	loopback := rest.CopyConfig(generic.LoopbackClientConfig)
	loopback.QPS = -1
	loopback.Wrap(traced(generic.TracerProvider))
	loopback.ContentType = runtime.ContentTypeProtobuf
	own, err := versioned.NewForConfig(loopback)
	if err != nil {
		return nil, err
	}
	transport := o.Recommended.Etcd.StorageConfig.Transport
	etcd, err := ownerguard.Dial(ownerguard.Endpoints{ServerList: transport.ServerList,
		CertFile: transport.CertFile, KeyFile: transport.KeyFile, CAFile: transport.TrustedCAFile})
	if err != nil {
		return nil, err
	}
	return &clients{host: host, metadata: meta, rollouts: own, store: ownerguard.NewStore(etcd, o.recordRoot()), etcd: etcd}, nil
}

// recordRoot is where the guard keeps its records in etcd. Two installations that share an etcd under two
// prefixes have two stores, and so two records.
func (o *Options) recordRoot() string {
	if prefix := o.Recommended.Etcd.StorageConfig.Prefix; prefix != defaultPrefix {
		return path.Join(ownerguard.DefaultRoot, prefix)
	}
	return ownerguard.DefaultRoot
}
