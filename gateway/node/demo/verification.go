package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/wardkey/wardkey/chain/audit"
)

// verification is what a directory that has served before is put to: its log is
// proved from files alone, and a sample of its records must still open.
func verification(h *Hospital) []step {
	return []step{
		{"audit-verify", func(ctx context.Context) (string, error) { return h.verifyLog(ctx) }},
		{"open-sample", func(ctx context.Context) (string, error) { return h.openSample(ctx) }},
	}
}

// verifyLog proves the log's directory, pinned to the key that the custodians
// are pinned to.
func (h *Hospital) verifyLog(ctx context.Context) (string, error) {
	report, err := audit.Verify(ctx, h.logDir(), audit.Options{LogKey: h.logKey()})
	if err != nil {
		return "", fmt.Errorf("verify the log: %w", err)
	}
	if err := failing(report); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d entries, %d statements proved from the files alone", h.gateway.Log.Size(), len(report.Proved)), nil
}

// logKey is the log's verifier key as the custodians are pinned to it.
func (h *Hospital) logKey() string { return h.site.custodians[0].Log.Key }

// failing is the first finding of a report that found something.
func failing(r audit.Report) error {
	if r.OK {
		return nil
	}
	if len(r.Findings) == 0 {
		return errors.New("the log does not verify, and no finding says why")
	}
	f := r.Findings[0]
	return fmt.Errorf("%d findings, the first: %s at entry %d: %s", len(r.Findings), f.Code, f.Index, f.Detail)
}

// openSample reads, as each of the patients who have a token, their own record
// and a page of their observations.
func (h *Hospital) openSample(ctx context.Context) (string, error) {
	all := h.caller()
	tokens, err := h.signInAll(ctx, all)
	if err != nil {
		return "", err
	}
	opened := 0
	for _, login := range []string{patientA, patientB} {
		c, id := all.as(tokens[login]), h.pocket.People[login].id()
		a, err := c.get(ctx, "/fhir/Patient/"+id)
		if err != nil {
			return "", err
		}
		r, err := a.resource()
		if err != nil || a.status != 200 || r.ID() != id {
			return "", errors.Join(a.unexpected("the patient's own record"), err)
		}
		found, err := c.search(ctx, "Observation", url.Values{"patient": {id}})
		if err != nil {
			return "", err
		}
		if len(found) == 0 {
			return "", fmt.Errorf("%s finds no observations of their own", login)
		}
		opened += 1 + len(found)
	}
	return fmt.Sprintf("%d records of two patients open for them", opened), nil
}
