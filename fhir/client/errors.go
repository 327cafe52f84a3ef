package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// What may go wrong. Every error of a [Client] that concerns the store is one of
// these, by errors.Is; an error that is none of them is the caller's mistake (an id
// that is no id, a resource too large to send) and nothing was sent.
var (
	// ErrNotFound: the server knows no such resource or version.
	ErrNotFound = errors.New("not found")
	// ErrGone: the resource, or that version of it, is deleted.
	ErrGone = errors.New("deleted")
	// ErrConflict: the version named by If-Match is not the current one, or the
	// server will not reconcile the write with what it holds.
	ErrConflict = errors.New("conflict with the current version")
	// ErrRejected: the server refused for another reason, typically with 400, 401,
	// 403 or 422; see [RejectedError].
	ErrRejected = errors.New("rejected")
	// ErrUnavailable: no answer, or one that says to come back later. A write may
	// have been carried out all the same.
	ErrUnavailable = errors.New("store unavailable")
	// ErrAnswer: the server answered with something that is not FHIR JSON, is too
	// large, or is not what was asked for. A write may have been carried out.
	ErrAnswer = errors.New("unusable answer")
)

// RejectedError is a refusal with its particulars. By errors.Is it is [ErrConflict]
// if its status is 409 or 412, and [ErrRejected] otherwise.
type RejectedError struct {
	// Status is the HTTP status.
	Status int
	// Outcome is the server's OperationOutcome, or nil. Its diagnostics may quote the
	// record: it is for programs and tests, and is not to be logged.
	Outcome *fhir.Resource
}

// Error gives the status and the issues' codes. What the server says in words is
// left out, since it may quote the record.
func (e *RejectedError) Error() string {
	codes := issueCodes(e.Outcome)
	if len(codes) == 0 {
		return fmt.Sprintf("%v: status %d", e.Unwrap(), e.Status)
	}
	return fmt.Sprintf("%v: status %d (%s)", e.Unwrap(), e.Status, strings.Join(codes, ", "))
}

// Unwrap returns [ErrConflict] or [ErrRejected].
func (e *RejectedError) Unwrap() error {
	// R4 §3.1.0.5 has 412 for a stale If-Match; HAPI says 409.
	if e.Status == http.StatusConflict || e.Status == http.StatusPreconditionFailed {
		return ErrConflict
	}
	return ErrRejected
}

// issueCodes gives the distinct issue codes of an outcome that are well-formed codes.
func issueCodes(outcome *fhir.Resource) []string {
	codes := lo.FilterMap(fhir.Issues(outcome), func(issue fhir.Issue, _ int) (string, bool) {
		code := issue.Code
		return code, code != "" && len(code) <= 32 && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz-") == ""
	})
	return lo.Uniq(codes)
}

// statusError turns a status that is not a success into its error.
func statusError(status int, outcome *fhir.Resource) error {
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusGone:
		return ErrGone
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status >= 300 && status < 400:
		return fmt.Errorf("%w: status %d", ErrAnswer, status)
	}
	return &RejectedError{Status: status, Outcome: outcome}
}

// transportError is what became of a request that got no answer. The context's own
// error stays visible, so that a caller who gave up is not told that the store did.
func transportError(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, cause, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
