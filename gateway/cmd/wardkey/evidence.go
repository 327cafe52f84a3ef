package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
holds what the log knows of that patient and nothing of any other. The log is the
gateway's, or the copy that a custodian keeps. Either may be running; what was
logged within the last second, or after the last time that a custodian was
called, may not be in its published checkpoint yet, and then is not in the
evidence either.`,
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
			if err == nil {
				err = writeWhole(out, data)
			}
			switch {
			case asJSON:
				return printWritten(cmd.OutOrStdout(), out, len(data), err)
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d bytes; try: wardkey verify %s\n", out, len(data), out)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the configuration `FILE` of a gateway, or of a custodian")
	cmd.Flags().StringVar(&patient, "patient", "", "all entries about the patient with this `ID`")
	cmd.Flags().Uint64Var(&entry, "entry", 0, "the entry with this `INDEX`")
	cmd.Flags().StringVarP(&out, "output", "o", "", "where to write the `EVIDENCE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "say what was written as one JSON object")
	return cmd
}

// An evidenceReport says what was written, or why nothing was.
type evidenceReport struct {
	OK       bool      `json:"ok"`
	File     string    `json:"file,omitempty"`
	Bytes    int       `json:"bytes,omitempty"`
	Findings []finding `json:"findings"`
}

func printWritten(w io.Writer, file string, size int, failure error) error {
	report := evidenceReport{OK: failure == nil, Findings: []finding{}}
	if failure == nil {
		report.File, report.Bytes = file, size
	} else {
		report.Findings = findings(failure)
	}
	if err := json.NewEncoder(w).Encode(report); err != nil {
		return err
	}
	if failure != nil {
		return errFound
	}
	return nil
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
