// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"sluice.dev/sluice/pkg/apis/rollouts"
	"sluice.dev/sluice/pkg/apiserver/ownerguard"
	"sluice.dev/sluice/pkg/cmd/server/member"
)

// The defaults of MemberOptions.
const (
	// DefaultMemberPeerPort is where a member listens for the etcd of the others.
	DefaultMemberPeerPort = 2380
	// DefaultMemberClientPort is where a member listens for others that want to join.
	DefaultMemberClientPort = 2379
)

// MemberOptions make the embedded etcd a member of a cluster.
type MemberOptions struct {
	// Name is the name of this member; empty for an etcd that is alone.
	Name string
	// All are all members, as NAME=HOST.
	All []string
	// BindAddress is where this member listens for the others.
	BindAddress net.IP
	// PeerPort and ClientPort are the ports of every member.
	PeerPort, ClientPort int
	// AcceptQuorumLoss is the name of the member whose data becomes a cluster of its own.
	AcceptQuorumLoss string
}

func newMemberOptions() MemberOptions {
	return MemberOptions{BindAddress: net.IPv4zero, PeerPort: DefaultMemberPeerPort, ClientPort: DefaultMemberClientPort}
}

func (m *MemberOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&m.Name, "member", m.Name,
		"Name of this server as a member of an etcd cluster that several servers embed, one of --members. Empty for a server that is alone. Not used if --etcd-servers is given.")
	flags.StringSliceVar(&m.All, "members", m.All,
		"All members of the cluster, as NAME=HOST, separated by commas; the same for every member. HOST is a DNS name or an address by which the others reach it. An odd number, normally three.")
	flags.IPVar(&m.BindAddress, "member-bind-address", m.BindAddress,
		"Address on which this member listens for the others.")
	flags.IntVar(&m.PeerPort, "member-peer-port", m.PeerPort,
		"Port, of every member, for the traffic of etcd between members. Only members are answered: TLS, with certificates that they make themselves, in both directions.")
	flags.IntVar(&m.ClientPort, "member-client-port", m.ClientPort,
		"Port, of every member, by which members that have no data yet ask to join. Only members are answered.")
	flags.StringVar(&m.AcceptQuorumLoss, "accept-quorum-loss", m.AcceptQuorumLoss,
		"Name of the member whose data becomes a cluster of one, if no other member answers for 30 seconds: for when the disks of most members are lost for good. The others join it anew. What only they had is lost. Never leave it on.")
}

// validate returns what is wrong.
func (m *MemberOptions) validate() (errs []error) {
	hosts, err := m.hosts()
	if err != nil {
		errs = append(errs, err)
	}
	if m.AcceptQuorumLoss != "" && hosts[m.AcceptQuorumLoss] == "" {
		errs = append(errs, fmt.Errorf("--accept-quorum-loss names %q, which is none of --members", m.AcceptQuorumLoss))
	}
	if m.Name == "" {
		if len(m.All) > 0 {
			errs = append(errs, errors.New("--members is given, and --member, the name of this one, is not"))
		}
		return errs
	}
	if err == nil && hosts[m.Name] == "" {
		errs = append(errs, fmt.Errorf("--member is %q, which is none of --members", m.Name))
	}
	for _, port := range []struct {
		flag  string
		value int
	}{{"--member-peer-port", m.PeerPort}, {"--member-client-port", m.ClientPort}} {
		if port.value < 1 || port.value > 65535 {
			errs = append(errs, fmt.Errorf("%s is %d and must be between 1 and 65535", port.flag, port.value))
		}
	}
	if m.PeerPort == m.ClientPort {
		errs = append(errs, fmt.Errorf("--member-peer-port and --member-client-port are both %d and must differ", m.PeerPort))
	}
	return errs
}

// hosts is where the members are, by name.
func (m *MemberOptions) hosts() (map[string]string, error) {
	hosts := map[string]string{}
	for _, pair := range m.All {
		name, host, ok := strings.Cut(pair, "=")
		if !ok || host == "" || len(validation.IsDNS1123Label(name)) > 0 {
			return nil, fmt.Errorf("--members has %q and takes NAME=HOST, where NAME has lower case letters, digits and dashes", pair)
		}
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(host)) > 0 {
			return nil, fmt.Errorf("--members has %q, and %q is neither a DNS name nor an address", pair, host)
		}
		if hosts[name] != "" {
			return nil, fmt.Errorf("--members names %s twice", name)
		}
		hosts[name] = host
	}
	return hosts, nil
}

// startMember starts the embedded etcd as a member of its cluster, and returns when that serves. The server answers
// meanwhile that it is alive and not ready.
func (o *Options) startMember(ctx context.Context) (*EmbeddedEtcd, error) {
	room, err := o.openWaitingRoom(ctx)
	if err != nil {
		return nil, err
	}
	defer room.close()
	config, err := clientcmd.BuildConfigFromFlags("", o.Recommended.CoreAPI.CoreAPIKubeconfigPath)
	if err != nil {
		return nil, err
	}
	config.UserAgent = userAgent
	host, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	peers, certificate, err := o.peers(host)
	if err != nil {
		return nil, err
	}
	if err := certificate.Renew(ctx); err != nil {
		return nil, err
	}
	go certificate.Run(ctx)
	identity := ownerguard.NewHost(host.CoreV1(), meta, o.Namespace, rollouts.Kind("Rollout"))
	return StartEtcdMember(ctx, MemberConfig{
		DataDir:          o.DataDir,
		QuotaBytes:       o.EtcdQuotaBytes,
		Peers:            peers,
		BindAddress:      o.Member.BindAddress,
		Records:          member.NewHost(host.CoreV1(), identity, o.Namespace),
		AcceptDataLoss:   o.AcceptDataLoss,
		AcceptQuorumLoss: o.Member.AcceptQuorumLoss == o.Member.Name,
	})
}

// peers are all members, and the certificate of this one.
func (o *Options) peers(host kubernetes.Interface) (*member.Peers, *member.Certificate, error) {
	hosts, err := o.Member.hosts()
	if err != nil {
		return nil, nil, err
	}
	peers := &member.Peers{RecordRoot: o.recordRoot()}
	certificate := member.CertificateConfig{
		Secrets:   host.CoreV1().Secrets(o.Namespace),
		Dir:       filepath.Join(o.DataDir, "member-tls"),
		Name:      o.Member.Name,
		Host:      hosts[o.Member.Name],
		Lifetimes: member.DefaultLifetimes,
	}
	for name, host := range hosts {
		certificate.Names = append(certificate.Names, name)
		endpoint := member.Endpoint{Name: name, PeerURL: memberURL(host, o.Member.PeerPort), ClientURL: memberURL(host, o.Member.ClientPort)}
		if name == o.Member.Name {
			peers.Self = endpoint
		} else {
			peers.Others = append(peers.Others, endpoint)
		}
	}
	made := member.NewCertificate(certificate)
	peers.TLS = made.TLS()
	return peers, made, nil
}
