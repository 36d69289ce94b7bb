// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/hack/localcluster/internal/cluster"
	"sluice.dev/sluice/hack/localcluster/internal/progress"
	"sluice.dev/sluice/hack/localcluster/internal/state"
)

func newStatus(flags *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, and the last lines of what crashed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := flags.json()
			if err != nil {
				return err
			}
			recorded, err := state.Load(flags.dir)
			if err != nil {
				return err
			}
			if recorded == nil {
				return fmt.Errorf("nothing runs in %s", flags.dir)
			}
			reports := cluster.Status(cmd.Context(), recorded, time.Now())
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), reports)
			} else {
				err = printReports(cmd.OutOrStdout(), reports)
			}
			if err != nil {
				return err
			}
			return judge(recorded, reports)
		},
	}
	flags.addOutput(cmd)
	return cmd
}

// judge is the error that tells scripts what the table tells people.
func judge(recorded *state.State, reports []cluster.Report) error {
	switch {
	case !recorded.Up:
		return fmt.Errorf("the control plane in %s is not up", recorded.Dir)
	case !cluster.Healthy(reports):
		return errors.New("not everything is well; start a crashed component again with: localcluster start COMPONENT")
	default:
		return nil
	}
}

func printReports(out io.Writer, reports []cluster.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tSTATE\tPROCESS\tUPTIME\tADDRESS\tHEALTH")
	for _, r := range reports {
		pid, uptime := "-", "-"
		if r.Condition == state.Running {
			pid, uptime = fmt.Sprint(r.PID), progress.Elapsed(r.Uptime)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Condition, pid, uptime, r.URL, r.Answer)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range reports {
		if r.Condition == state.Crashed {
			if _, err := fmt.Fprintf(out, "\n%s crashed; %s\n", r.Name, r.LastLines); err != nil {
				return err
			}
		}
	}
	return nil
}
