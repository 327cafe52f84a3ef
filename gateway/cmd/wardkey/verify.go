package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wardkey/wardkey/chain/audit"
)

func verifyCommand() *cobra.Command {
	var o audit.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify LOGDIR|EVIDENCE [--json]",
		Short: "prove a log, or evidence from it, from files alone",
		Long: `Recomputes everything from the entries themselves: leaves, tree, signatures,
each patient's sequence without gaps, and what log.json and the genesis entry say
about the keys. Any doubt is a finding, and ends with 1.

Without --key and --witness it believes the keys that the files name; with them,
only those.`,
		Args: exactly(1, "one log directory or evidence file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := verify(cmd.Context(), args[0], o)
			switch {
			case err != nil && !asJSON:
				return err
			case err != nil:
				report = unreadable(err)
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			} else {
				err = report.Text(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if !report.OK {
				return errFound
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.LogKey, "key", "", "the log's verifier `KEY`, known from elsewhere")
	cmd.Flags().StringArrayVar(&o.Witnesses, "witness", nil, "verifier `KEY` of a custodian that must have cosigned; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the report as one JSON object")
	return cmd
}

// codeUnreadable is the finding of a verification that could not begin.
const codeUnreadable = "unreadable"

func unreadable(err error) audit.Report {
	return audit.Report{Proved: []string{}, Notes: []string{}, Findings: []audit.Finding{{Code: codeUnreadable, Detail: err.Error()}}}
}

func verify(ctx context.Context, path string, o audit.Options) (audit.Report, error) {
	info, err := os.Stat(path)
	if err != nil {
		return audit.Report{}, fmt.Errorf("verify: %w", err)
	}
	if info.IsDir() {
		return audit.Verify(ctx, path, o)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return audit.Report{}, fmt.Errorf("verify: %w", err)
	}
	return audit.VerifyEvidence(data, o), nil
}
