package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wardkey/wardkey/gateway/node"
)

func evidenceCommand() *cobra.Command {
	var file, patient, out string
	var entry uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "evidence --config FILE (--patient ID | --entry N) -o EVIDENCE",
		Short: "write one file that proves by itself what the log holds",
		Long: `Writes the entries about one patient, or one entry, with their bodies opened,
their proofs and the cosigned checkpoint: wardkey verify needs nothing else. It
holds what the log knows of that patient and nothing of any other. The gateway
may be running; what it has logged within the last second may not be in the
published checkpoint yet, and then is not in the evidence either.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(needed("config", file), needed("output", out)); err != nil {
				return &usageError{err}
			}
			byEntry := cmd.Flags().Changed("entry")
			if byEntry == (patient != "") {
				return &usageError{errors.New("want either --patient or --entry")}
			}
			var data []byte
			var err error
			if byEntry {
				data, err = node.EntryEvidence(cmd.Context(), file, entry)
			} else {
				data, err = node.PatientEvidence(cmd.Context(), file, "Patient/"+strings.TrimPrefix(patient, "Patient/"))
			}
			if err != nil {
				return err
			}
			if err := writeWhole(out, data); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"file": out, "bytes": len(data)})
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d bytes; try: wardkey verify %s\n", out, len(data), out)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the gateway's configuration `FILE`")
	cmd.Flags().StringVar(&patient, "patient", "", "all entries about the patient with this `ID`")
	cmd.Flags().Uint64Var(&entry, "entry", 0, "the entry with this `INDEX`")
	cmd.Flags().StringVarP(&out, "output", "o", "", "where to write the `EVIDENCE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "say what was written as one JSON object")
	return cmd
}

// writeWhole writes a file that is there as a whole or not at all. It names a
// patient's accesses, so nobody else may read it.
func writeWhole(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".evidence-")
	if err != nil {
		return fmt.Errorf("write evidence: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write evidence: %w", err), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
