package node

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/audit"
	"github.com/wardkey/wardkey/chain/disk"
)

// PatientEvidence makes the evidence of a patient, "Patient/p1", from the log
// that a gateway's or a custodian's file names: every entry about the patient, in
// one file that proves itself. The role may be running. "" is the tenant, whose
// entries concern no patient.
func PatientEvidence(ctx context.Context, config, patient string) ([]byte, error) {
	return evidence(ctx, config, func(r *chain.Reader) ([]byte, error) { return audit.PatientEvidence(ctx, r, patient) })
}

// EntryEvidence makes the evidence of one entry of the log that a gateway's or a
// custodian's file names.
func EntryEvidence(ctx context.Context, config string, index uint64) ([]byte, error) {
	return evidence(ctx, config, func(r *chain.Reader) ([]byte, error) { return audit.EntryEvidence(ctx, r, index) })
}

func evidence(ctx context.Context, config string, collect func(*chain.Reader) ([]byte, error)) ([]byte, error) {
	dir, err := logOf(config)
	if err != nil {
		return nil, err
	}
	files, err := disk.Open(disk.Config{Dir: dir, ReadOnly: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = files.Close() }() // it was only read from
	reader, err := chain.OpenReader(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return collect(reader)
}

// logOf is the folder of the log that a configuration names: the sequencer's, or
// a custodian's whole copy of it.
func logOf(config string) (string, error) {
	data, err := readConfig(config)
	if err != nil {
		return "", err
	}
	role, err := roleOf(config, data)
	if err != nil {
		return "", err
	}
	if role == roleCustodian {
		c, err := LoadCustodian(config)
		if err != nil {
			return "", err
		}
		return under(c.folder, c.Log.Dir), nil
	}
	c, err := LoadGateway(config)
	if err != nil {
		return "", err
	}
	return under(c.folder, c.Log.Dir), nil
}
