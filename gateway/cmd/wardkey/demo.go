package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/wardkey/wardkey/gateway/node/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo [--dir DIR] [--addr HOST:PORT] [--once] [--json]",
		Short: "a whole hospital in one process: play the story, then serve",
		Long: `Starts an identity provider, a store with synthetic patients, four custodians,
the chain and the gateway, each on a socket of its own; plays the story, with a
verdict a step; writes demo.json and serves until Ctrl-C.

Without --dir it lives in a temporary directory that is removed at the end. On a
directory that has served before it goes on serving, without the story; with
--once it verifies it instead.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Addr != "" {
				if _, _, err := net.SplitHostPort(o.Addr); err != nil {
					return &usageError{fmt.Errorf("--addr: %w", err)}
				}
			}
			o.Out, o.Err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			err := demo.Run(cmd.Context(), o)
			switch {
			case errors.Is(err, demo.ErrFailed):
				return errFound
			case errors.Is(err, context.Canceled) && cmd.Context().Err() != nil:
				return errors.New("interrupted")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", "", "the hospital's `DIR`; a temporary one if not given")
	cmd.Flags().StringVar(&o.Addr, "addr", "", "where the gateway listens, `HOST:PORT`; "+demo.DefaultAddr+" if not given, port 0 takes a free one")
	cmd.Flags().BoolVar(&o.Once, "once", false, "end after the story, with 1 if a step failed")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "verdicts as JSON, one a line, and nothing else on standard output")
	cmd.Flags().IntVar(&o.Patients, "patients", 0, "load only so many `PATIENTS`")
	// Fewer patients than the story is about is for tests in a hurry.
	cmd.Flags().Lookup("patients").Hidden = true
	return cmd
}
