// Wardkey guards FHIR records under threshold encryption: one binary, one
// command a role.
//
// Every command ends with 0 when all is well, 1 when it found something or could
// not do its work, and 2 when it was called wrongly. Results go to standard
// output, and with --json nothing else does; everything said on the way goes to
// standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once what the first asked to end
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errFound ends a command with 1 after it has said itself what is the matter.
var errFound = errors.New("found something")

// A usageError is a command called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "wardkey",
		Short: "FHIR records under threshold encryption: no log, no key; no quorum, no key; past time, no key",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return &usageError{errors.New("a command is needed")}
		},
		RunE:          func(*cobra.Command, []string) error { return nil }, // Args has refused
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // --help serves
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(demoCommand(), gatewayCommand(), custodianCommand(), checkCommand(),
		verifyCommand(), evidenceCommand(), versionCommand())

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		say(stderr, "wardkey: %s\n\n%s", usage, cmd.UsageString())
		return exitUsage
	}
	if !errors.Is(err, errFound) {
		say(stderr, "wardkey: %s\n", err)
	}
	return exitFailure
}

// exactly wants n arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{fmt.Errorf("want %s, got %d arguments", what, len(args))}
		}
		return nil
	}
}

// needed reports a flag that was left out.
func needed(name, value string) error {
	if value == "" {
		return &usageError{fmt.Errorf("--%s is required", name)}
	}
	return nil
}

// say writes to standard error; if that fails there is nowhere left to say so.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
