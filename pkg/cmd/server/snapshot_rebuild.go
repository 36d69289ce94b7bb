// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/cmd/server/snapshot"
)

func newRebuildCommand(ctx context.Context) *cobra.Command {
	options, dryRun := NewOptions(), false
	command := &cobra.Command{
		Use:   "rebuild",
		Short: "Make Rollouts that the store lacks anew from their ReplicaSets",
		Long: "Bring a store that the server refuses to answer from up to what the cluster runs. Rollouts that the store lacks are\n" +
			"made anew from their ReplicaSets, under their old UIDs and paused. Those that it has are changed so that nothing moves.\n" +
			"What cannot be known is said, and is to be looked at before anything is resumed. No pod and no ReplicaSet is touched.\n\n" +
			"The server may run: it ends when this is done, and answers when it is started anew.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return options.rebuild(ctx, dryRun, command.OutOrStdout())
		},
	}
	options.addStoreFlags(command.Flags())
	options.addEtcdFlags(command.Flags(), "encryption-provider-config")
	options.addHostFlags(command.Flags())
	command.Flags().BoolVar(&dryRun, "dry-run", false, "Only tell what would be done.")
	return command
}

func (o *Options) rebuild(ctx context.Context, dryRun bool, out io.Writer) error {
	release, err := o.openStore(ctx)
	if err != nil {
		return err
	}
	defer release()
	config, err := clientcmd.BuildConfigFromFlags("", o.Recommended.CoreAPI.CoreAPIKubeconfigPath)
	if err != nil {
		return fmt.Errorf("the host cluster: %w", err)
	}
	config.UserAgent = userAgent
	config = hostConfig(config)
	host, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	etcd, err := ownerguard.Dial(o.localEtcd())
	if err != nil {
		return err
	}
	defer etcd.Close()
	store, root, destroy, err := o.rawRollouts()
	if err != nil {
		return err
	}
	defer destroy()
	return (&snapshot.Rebuilder{
		Guard: ownerguard.New(ownerguard.Config{
			Gate:         ownerguard.NewGate(rollouts.GroupName),
			Store:        ownerguard.NewStore(etcd, o.recordRoot()),
			Host:         ownerguard.NewHost(host.CoreV1(), meta, o.Namespace, rollouts.Kind("Rollout")),
			LiveRollouts: func(ctx context.Context) (map[types.UID]string, error) { return snapshot.UIDs(ctx, store, root) },
		}),
		Rollouts: store, Root: root, ReplicaSets: host.AppsV1(), DryRun: dryRun, Out: out, Now: time.Now(),
	}).Run(ctx)
}

// rawRollouts is the store of Rollouts below the API, which encodes and encrypts them as the server does.
func (o *Options) rawRollouts() (store storage.Interface, root string, destroy func(), err error) {
	config := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	o.Recommended.Etcd.SkipHealthEndpoints = true
	if err := o.applyStorage(config); err != nil {
		return nil, "", nil, err
	}
	options, err := config.RESTOptionsGetter.GetRESTOptions(rollouts.Resource("rollouts"), &rollouts.Rollout{})
	if err != nil {
		return nil, "", nil, err
	}
	root = "/" + options.ResourcePrefix
	raw, stop, err := generic.NewRawStorage(options.StorageConfig,
		func() runtime.Object { return &rollouts.Rollout{} }, func() runtime.Object { return &rollouts.RolloutList{} }, root)
	return raw, root, stop, err
}
