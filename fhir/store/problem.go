package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/wardkey/wardkey/fhir"
)

// problem is an answer that is an error: its words go to the client, its cause to
// the log.
type problem struct {
	status     int
	code, text string // of the issue
	expression string // where in the resource, or which parameter
	header     map[string]string
	cause      error
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.status, p.code, p.text) }

func (p *problem) Unwrap() error { return p.cause }

// problem turns any error of an interaction into what the client is told, and logs
// what the client cannot help.
func (s *Store) problem(r *http.Request, err error) *problem {
	p := classify(err)
	if p.status >= http.StatusInternalServerError {
		s.log.ErrorContext(r.Context(), "request", slog.String("method", r.Method), slog.Int("status", p.status), slog.Any("error", err))
	}
	return p
}

func classify(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if syntax, ok := errors.AsType[*fhir.SyntaxError](err); ok {
		return &problem{status: http.StatusBadRequest, code: "structure", text: syntax.Reason, expression: syntax.Path}
	}
	if query, ok := errors.AsType[*fhir.QueryError](err); ok {
		return &problem{status: http.StatusBadRequest, code: "not-supported", text: query.Param + ": " + query.Reason, expression: "http." + query.Param}
	}
	switch {
	case errors.Is(err, errStale):
		return &problem{status: http.StatusPreconditionFailed, code: "conflict", text: "the version in If-Match is not the current one"}
	case errors.Is(err, errClosed):
		return unavailable("transient", "the store is closing")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errCanceled):
		return unavailable("timeout", "it took too long")
	default:
		return &problem{status: http.StatusInternalServerError, code: "exception", text: "an internal error", cause: err}
	}
}

func unavailable(code, text string) *problem {
	return &problem{status: http.StatusServiceUnavailable, code: code, text: text, header: map[string]string{"Retry-After": "1"}}
}

func problemAnswer(p *problem) *answer {
	issue := fhir.Issue{Severity: "error", Code: p.code, Details: p.text}
	if p.expression != "" {
		issue.Expression = []string{p.expression}
	}
	return &answer{status: p.status, header: p.header, resource: fhir.Outcome(issue).JSON()}
}
