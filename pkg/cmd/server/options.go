// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/tools/leaderelection"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	// It makes --logging-format=json known.
	_ "k8s.io/component-base/logs/json/register"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/pkg/apis/rollouts/v1alpha1"
	"sluice.dev/sluice/pkg/apiserver"
	"sluice.dev/sluice/pkg/controller/rollout"
)

// The defaults of Options.
const (
	// DefaultDataDir is where the embedded etcd keeps what is stored.
	DefaultDataDir = "/var/lib/sluice"
	// DefaultNamespace is where the server keeps what it shares with its replicas, in the host.
	DefaultNamespace = "sluice-system"
	// DefaultServiceName is the Service by which the host reaches the server.
	DefaultServiceName = "sluice-apiserver"
	// DefaultSecurePort is above 1024, so that the server needs no capability.
	DefaultSecurePort = 8443
)

// defaultPrefix is where objects are in etcd, unless --etcd-prefix says otherwise.
const defaultPrefix = "/registry"

// Options are what the flags say.
type Options struct {
	// Recommended are the options of any aggregated API server.
	Recommended *genericoptions.RecommendedOptions
	// ServerRun are the options of any API server: limits, time-outs, shutdown.
	ServerRun *genericoptions.ServerRunOptions
	// Logs are the options of any component.
	Logs *logs.Options

	// DataDir is the folder of the embedded etcd. It is used unless --etcd-servers is given.
	DataDir string
	// EtcdQuotaBytes is the size of the database of the embedded etcd beyond which it takes no more writes. Unit: bytes.
	// Default DefaultEtcdQuotaBytes, at least 16 MiB.
	EtcdQuotaBytes int64
	// Namespace is the server's own in the host: Lease, store identity and serving certificate are there.
	Namespace string
	// ServiceName is the Service, in Namespace, by which the host reaches the server.
	ServiceName string
	// Certificates are the lifetimes of the serving certificate that the server makes for itself, and of its authority.
	Certificates CertificateLifetimes
	// AcceptDataLoss gives up Rollouts that ReplicaSets of the host belong to and the store has not.
	AcceptDataLoss bool
	// Snapshots are about copies of the embedded store.
	Snapshots SnapshotOptions
	// Member makes the embedded etcd one of several.
	Member MemberOptions
	// LeaderElection are the times of the Lease by which one replica's controller acts.
	LeaderElection rollout.LeaderElection
	// Clock is the time that is decided by, and that verbs are recorded with. Default: that of the machine. It has no flag:
	// it is for those who run a server within a process of theirs.
	Clock clock.WithTicker

	// embedded is true while the etcd of Recommended is the embedded one, which runs. alone is true if that is no member
	// of a cluster.
	embedded, alone bool
	// leaderChanged is closed when the members have got another leader; nil without members.
	leaderChanged func() <-chan struct{}
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	recommended := genericoptions.NewRecommendedOptions(defaultPrefix, apiserver.Codecs.LegacyCodec(v1alpha1.SchemeGroupVersion))
	recommended.Etcd.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	recommended.Etcd.StorageConfig.Type = storagebackend.StorageTypeETCD3
	recommended.SecureServing.BindPort = DefaultSecurePort
	// The host applied its priority and fairness to the request that it hands on; queueing it twice can
	// deadlock. The limits on requests in flight stay.
	recommended.Features.EnablePriorityAndFairness = false
	recommended.Audit.LogOptions.Path = auditToStdout
	recommended.Audit.LogOptions.MaxSize, recommended.Audit.LogOptions.MaxBackups = 100, 10
	resourcequota.Register(recommended.Admission.Plugins)
	recommended.Admission.RecommendedPluginOrder = append(recommended.Admission.RecommendedPluginOrder, resourcequota.PluginName)

	serverRun := genericoptions.NewServerRunOptions()
	// A terminating server sends its clients away rather than wait for their watches to end: without this
	// a shutdown behind a kube-apiserver takes a minute, longer than any grace period.
	serverRun.ShutdownSendRetryAfter = true
	serverRun.ShutdownWatchTerminationGracePeriod = 2 * time.Second

	namespace := os.Getenv("POD_NAMESPACE")
	if namespace == "" {
		namespace = DefaultNamespace
	}
	return &Options{
		Recommended:    recommended,
		ServerRun:      serverRun,
		Logs:           logs.NewOptions(),
		DataDir:        DefaultDataDir,
		EtcdQuotaBytes: DefaultEtcdQuotaBytes,
		Namespace:      namespace,
		ServiceName:    DefaultServiceName,
		Snapshots:      newSnapshotOptions(),
		Member:         newMemberOptions(),
		Certificates:   DefaultCertificateLifetimes,
		LeaderElection: rollout.LeaderElection{
			LeaseDuration: rollout.DefaultLeaseDuration,
			RenewDeadline: rollout.DefaultRenewDeadline,
			RetryPeriod:   rollout.DefaultRetryPeriod,
		},
		Clock: clock.RealClock{},
	}
}

// Flags returns the flags, in named groups.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var sets cliflag.NamedFlagSets
	o.addOwnFlags(sets.FlagSet("sluice"))
	o.Snapshots.addFlags(sets.FlagSet("snapshots"))
	o.Member.addFlags(sets.FlagSet("members"))
	o.addElectionFlags(sets.FlagSet("leader election"))
	o.ServerRun.AddUniversalFlags(sets.FlagSet("generic"))
	o.Recommended.Etcd.AddFlags(sets.FlagSet("etcd"))
	o.Recommended.SecureServing.AddFlags(sets.FlagSet("secure serving"))
	o.Certificates.addFlags(sets.FlagSet("secure serving"))
	o.Recommended.Authentication.AddFlags(sets.FlagSet("authentication"))
	o.Recommended.Authorization.AddFlags(sets.FlagSet("authorization"))
	o.addAuditFlags(sets.FlagSet("auditing"))
	o.Recommended.Features.AddFlags(sets.FlagSet("features"))
	o.Recommended.Admission.AddFlags(sets.FlagSet("admission"))
	o.Recommended.Traces.AddFlags(sets.FlagSet("traces"))
	logsapi.AddFlags(o.Logs, sets.FlagSet("logs"))
	return sets
}

// addHostFlags adds what leads to the host, and to our records there.
func (o *Options) addHostFlags(flags *pflag.FlagSet) {
	o.Recommended.CoreAPI.AddFlags(flags)
	flags.Lookup("kubeconfig").Usage = "Kubeconfig of the host cluster. If unset, the server takes the identity of the pod that it runs in."
	flags.StringVar(&o.Namespace, "namespace", o.Namespace,
		"Namespace of the server in the host cluster, where its Lease, the identity of its store and its serving certificate are kept. Taken from POD_NAMESPACE if that is set.")
}

func (o *Options) addOwnFlags(flags *pflag.FlagSet) {
	o.addHostFlags(flags)
	flags.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"Folder of the embedded etcd. One process at a time may use it. Not used if --etcd-servers is given.")
	flags.Int64Var(&o.EtcdQuotaBytes, "embedded-etcd-quota-bytes", o.EtcdQuotaBytes,
		"Size of the database of the embedded etcd, in bytes, beyond which it takes no more writes; at least 16 MiB. The volume of --data-dir should have "+
			"room for twice as much and 256 MiB: a database is written anew when room is made in it, and there is the log of etcd. Not used if --etcd-servers is given.")
	flags.StringVar(&o.ServiceName, "service-name", o.ServiceName,
		"Service, in --namespace, by which the host cluster reaches the server: what the serving certificate is made for.")
	flags.BoolVar(&o.AcceptDataLoss, "accept-data-loss", o.AcceptDataLoss,
		"Start although ReplicaSets in the host cluster belong to Rollouts that the store does not have, as after its disk was lost. "+
			"They are detached first, so that their pods keep running without an owner; the Rollouts are gone.")
}

func (o *Options) addElectionFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&o.LeaderElection.LeaseDuration, "leader-elect-lease-duration", o.LeaderElection.LeaseDuration,
		"How long the other replicas wait, after the last sign of life of the leading controller, before one of them takes over.")
	flags.DurationVar(&o.LeaderElection.RenewDeadline, "leader-elect-renew-deadline", o.LeaderElection.RenewDeadline,
		"How long a leading controller that cannot renew its Lease goes on. Must be shorter than the lease duration.")
	flags.DurationVar(&o.LeaderElection.RetryPeriod, "leader-elect-retry-period", o.LeaderElection.RetryPeriod,
		"How long to wait between two attempts to take or to renew the Lease.")
}

// Complete fills in what follows from other options.
func (o *Options) Complete() {
	if o.Recommended.Authentication.RemoteKubeConfigFile == "" {
		o.Recommended.Authentication.RemoteKubeConfigFile = o.Recommended.CoreAPI.CoreAPIKubeconfigPath
	}
	if o.Recommended.Authorization.RemoteKubeConfigFile == "" {
		o.Recommended.Authorization.RemoteKubeConfigFile = o.Recommended.CoreAPI.CoreAPIKubeconfigPath
	}
}

// EmbedsEtcd says whether the server runs its own etcd.
func (o *Options) EmbedsEtcd() bool {
	return len(o.Recommended.Etcd.StorageConfig.Transport.ServerList) == 0
}

// Validate returns what is wrong with the options, the storage set aside: an embedded etcd is not up yet.
func (o *Options) Validate() error {
	var errs []error
	if o.EmbedsEtcd() {
		if o.DataDir == "" {
			errs = append(errs, errors.New("--data-dir must not be empty, unless --etcd-servers is given"))
		}
		if o.EtcdQuotaBytes < minEtcdQuotaBytes {
			errs = append(errs, fmt.Errorf("--embedded-etcd-quota-bytes must be at least %d, but is %d", minEtcdQuotaBytes, o.EtcdQuotaBytes))
		}
		errs = append(errs, o.Member.validate()...)
	} else {
		errs = append(errs, o.Recommended.Etcd.Validate()...)
	}
	if o.Namespace == "" {
		errs = append(errs, errors.New("--namespace must not be empty"))
	}
	if o.ServiceName == "" {
		errs = append(errs, errors.New("--service-name must not be empty"))
	}
	if o.LeaderElection.LeaseDuration <= o.LeaderElection.RenewDeadline {
		errs = append(errs, fmt.Errorf("--leader-elect-lease-duration (%v) must be longer than --leader-elect-renew-deadline (%v)",
			o.LeaderElection.LeaseDuration, o.LeaderElection.RenewDeadline))
	}
	if float64(o.LeaderElection.RenewDeadline) <= leaderelection.JitterFactor*float64(o.LeaderElection.RetryPeriod) || o.LeaderElection.RetryPeriod <= 0 {
		errs = append(errs, fmt.Errorf("--leader-elect-renew-deadline (%v) must be longer than %.1f times --leader-elect-retry-period (%v), and that more than 0",
			o.LeaderElection.RenewDeadline, leaderelection.JitterFactor, o.LeaderElection.RetryPeriod))
	}
	errs = append(errs, o.Snapshots.validate(o)...)
	errs = append(errs, o.Certificates.validate())
	errs = append(errs, o.ServerRun.Validate()...)
	errs = append(errs, o.Recommended.SecureServing.Validate()...)
	errs = append(errs, o.Recommended.Authentication.Validate()...)
	errs = append(errs, o.Recommended.Authorization.Validate()...)
	errs = append(errs, o.Recommended.Audit.Validate()...)
	errs = append(errs, o.Recommended.Traces.Validate()...)
	errs = append(errs, o.Recommended.Features.Validate()...)
	errs = append(errs, o.Recommended.Admission.Validate()...)
	return errors.Join(errs...)
}
