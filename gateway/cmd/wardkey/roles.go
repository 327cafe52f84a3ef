package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/wardkey/wardkey/gateway/node"
)

func gatewayCommand() *cobra.Command {
	return roleCommand("gateway", "run a gateway", func(ctx context.Context, file string) (closer, error) {
		c, err := node.LoadGateway(file)
		if err != nil {
			return nil, err
		}
		return node.StartGateway(ctx, c, node.GatewayOptions{})
	})
}

func custodianCommand() *cobra.Command {
	return roleCommand("custodian", "run a custodian", func(ctx context.Context, file string) (closer, error) {
		c, err := node.LoadCustodian(file)
		if err != nil {
			return nil, err
		}
		return node.StartCustodian(ctx, c, node.CustodianOptions{})
	})
}

// A closer is a role that runs.
type closer interface{ Close(context.Context) error }

// roleCommand runs one role until it is told to stop.
func roleCommand(name, short string, start func(context.Context, string) (closer, error)) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   name + " --config FILE",
		Short: short,
		Args:  exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needed("config", file); err != nil {
				return err
			}
			running, err := start(cmd.Context(), file)
			if err != nil {
				return err
			}
			say(cmd.ErrOrStderr(), "the %s is running; Ctrl-C stops it\n", name)
			<-cmd.Context().Done()
			// The signal has ended the command's context; closing takes the time it needs.
			return running.Close(context.WithoutCancel(cmd.Context()))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the role's configuration `FILE`")
	return cmd
}
