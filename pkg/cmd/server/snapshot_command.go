// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/cmd/server/snapshot"
)

// newSnapshotCommand returns the command snapshot with its subcommands.
func newSnapshotCommand(ctx context.Context) *cobra.Command {
	command := &cobra.Command{
		Use:   "snapshot",
		Short: "Save, check and restore copies of the store",
		Long: "A snapshot is a copy of everything that is stored. See docs/operations.md for what to do with it.\n\n" +
			"Every subcommand takes the data directory, or the --etcd-servers, of the server that it is about.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	// That of the server is about its own flags only, and would be inherited.
	plain := &cobra.Command{}
	command.SetUsageFunc(plain.UsageFunc())
	command.SetHelpFunc(plain.HelpFunc())
	command.AddCommand(newSaveCommand(ctx), newVerifyCommand(ctx), newRestoreCommand(), newRebuildCommand(ctx))
	return command
}

// addStoreFlags adds the flags that lead to a store.
func (o *Options) addStoreFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.DataDir, "data-dir", o.DataDir, "Data directory of the server, which may run or not. Not used if --etcd-servers is given.")
	o.addEtcdFlags(flags, "etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "etcd-prefix")
}

// addEtcdFlags adds some of the usual flags about etcd.
func (o *Options) addEtcdFlags(flags *pflag.FlagSet, names ...string) {
	all := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	o.Recommended.Etcd.AddFlags(all)
	for _, name := range names {
		flags.AddFlag(all.Lookup(name))
	}
}

func newSaveCommand(ctx context.Context) *cobra.Command {
	options := NewOptions()
	command := &cobra.Command{
		Use:   "save FILE|FOLDER",
		Short: "Save a snapshot",
		Long: "Save a snapshot to a file that does not exist yet, or to a folder, where it is named after the time.\n" +
			"The server may run, and is then not disturbed, or not.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return options.save(ctx, args[0], command.OutOrStdout())
		},
	}
	options.addStoreFlags(command.Flags())
	return command
}

func (o *Options) save(ctx context.Context, path string, out io.Writer) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, snapshot.FileName(time.Now()))
	}
	release, err := o.openStore(ctx)
	if err != nil {
		return err
	}
	defer release()
	etcd, err := o.localEtcd().ClientConfig()
	if err != nil {
		return err
	}
	if err := snapshot.Save(ctx, etcd, path); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "saved %s\n", path)
	return err
}

func newVerifyCommand(ctx context.Context) *cobra.Command {
	options, format := NewOptions(), ""
	command := &cobra.Command{
		Use:   "verify FILE|FOLDER",
		Short: "Check a snapshot, and tell what is in it",
		Long: "Check a snapshot, or the newest in a folder: its checksum, the structure of its database, and every object\n" +
			"in it, which is decoded as the server would. Fails if anything cannot be read.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return options.verify(ctx, args[0], format, command.OutOrStdout())
		},
	}
	options.addEtcdFlags(command.Flags(), "etcd-prefix", "encryption-provider-config")
	command.Flags().StringVarP(&format, "output", "o", "", "json for machines; empty for people.")
	return command
}

func (o *Options) verify(ctx context.Context, path, format string, out io.Writer) error {
	if format != "" && format != "json" {
		return fmt.Errorf("--output=%s is not known: it is json, or empty", format)
	}
	path, err := snapshot.Find(path)
	if err != nil {
		return err
	}
	reading, err := o.reading(ctx)
	if err != nil {
		return err
	}
	report, err := snapshot.Verify(ctx, path, reading)
	if report == nil {
		return err
	}
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else if err := report.Print(out); err != nil {
		return err
	}
	return err
}

// reading says how stored objects are read.
func (o *Options) reading(ctx context.Context) (snapshot.Reading, error) {
	resource := rollouts.Resource("rollouts")
	reading := snapshot.Reading{
		Prefix:     o.Recommended.Etcd.StorageConfig.Prefix,
		Resources:  map[string]schema.GroupResource{storageFactory(*o.Recommended.Etcd).ResourcePrefix(resource): resource},
		RecordRoot: o.recordRoot(),
		Decoder:    apiserver.Codecs.UniversalDeserializer(),
	}
	file := o.Recommended.Etcd.EncryptionProviderConfigFilepath
	if file == "" {
		return reading, nil
	}
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, file, false, "")
	if err != nil {
		return reading, fmt.Errorf("--encryption-provider-config: %w", err)
	}
	transformers := encryptionconfig.StaticTransformers(config.Transformers)
	reading.Transformer = func(resource schema.GroupResource) value.Transformer {
		return transformers.TransformerForResource(resource)
	}
	return reading, nil
}

func newRestoreCommand() *cobra.Command {
	options, member := NewOptions(), snapshot.Member{Name: etcdMember, PeerURL: etcdPeerURL}
	command := &cobra.Command{
		Use:   "restore FILE|FOLDER",
		Short: "Make a data directory of a snapshot",
		Long: "Make the store in a data directory that has none of a snapshot, or of the newest in a folder. All objects keep\n" +
			"their UIDs. The server must not run. It refuses to answer afterwards if the cluster has seen more than the\n" +
			"snapshot has, and says what is missing.\n\n" +
			"The store is that of an etcd with one member. With --member-name and --peer-url it is for another etcd than the\n" +
			"embedded one, which is started with --data-dir on the folder etcd in the data directory.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return options.restore(args[0], member, command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&options.DataDir, "data-dir", options.DataDir, "Data directory to make.")
	command.Flags().StringVar(&member.Name, "member-name", member.Name, "Name of the member of etcd.")
	command.Flags().StringVar(&member.PeerURL, "peer-url", member.PeerURL, "Where other members of etcd reach it.")
	return command
}

func (o *Options) restore(path string, member snapshot.Member, out io.Writer) error {
	path, err := snapshot.Find(path)
	if err != nil {
		return err
	}
	if err := restoreInto(path, o.DataDir, member); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "restored %s into %s\n", path, strings.TrimSuffix(o.DataDir, "/"))
	return err
}
