package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/records"
)

// kind names a line of the table of errors.
type kind int

const (
	internal kind = iota
	malformed
	unknownParam
	badValue
	unauthenticated
	scopeMissing
	purposeMissing
	forbidden
	notServed
	hidden
	badMethod
	badAccept
	conflicted
	deleted
	preconditionFailed
	tooLarge
	badMedia
	unprocessable
	statementRefused
	identifierAsID
	notSupported
	wide
	stalePage
	tooCostly
	integrity
	upstreamDown
	quorumDown
	logDown
	unconfirmed
	held
	busy
)

// A problem is what a client is told: a status, an issue code of FHIR R4's
// issue-type, and words that are the same for everybody it happens to.
type problem struct {
	status int
	code   string
	text   string
	retry  bool // worth trying again: Retry-After is sent
}

// problem is the table: the one place where a mistake becomes HTTP. Nothing of an
// error's own text goes out, for it may speak of what the caller may not see.
func (k kind) problem() problem {
	switch k {
	case malformed:
		return problem{http.StatusBadRequest, "invalid", "The request is malformed.", false}
	case unknownParam:
		return problem{http.StatusBadRequest, "not-supported", "A parameter is not supported here. None is ignored.", false}
	case badValue:
		return problem{http.StatusBadRequest, "value", "A parameter's value is none that it takes here. None is ignored.", false}
	case unauthenticated:
		return problem{http.StatusUnauthorized, "login", "A valid access token is needed.", false}
	case scopeMissing:
		return problem{http.StatusForbidden, "forbidden", "The access token's scopes do not cover this interaction.", false}
	case purposeMissing:
		return problem{http.StatusForbidden, "forbidden", "A purpose of use that the session allows must be stated: header Wardkey-Purpose.", false}
	case forbidden:
		return problem{http.StatusForbidden, "forbidden", "This is not allowed to the session.", false}
	case notServed:
		return problem{http.StatusNotFound, "not-supported", "There is nothing at this address. /fhir/metadata lists what there is.", false}
	case hidden:
		return problem{http.StatusNotFound, "not-found", "It does not exist, or consent and policy withhold it; the answer is the same. When a life depends on it: POST $break-glass.", false}
	case badMethod:
		return problem{http.StatusMethodNotAllowed, "not-supported", "The method is not served at this address.", false}
	case badAccept:
		return problem{http.StatusNotAcceptable, "not-supported", "Answers are application/fhir+json (FHIR 4.0) only.", false}
	case conflicted:
		return problem{http.StatusConflict, "conflict", "The resource changed meanwhile. Read it again.", false}
	case deleted:
		return problem{http.StatusGone, "deleted", "The resource was deleted.", false}
	case preconditionFailed:
		return problem{http.StatusPreconditionFailed, "conflict", "If-Match names another version than the current one.", false}
	case tooLarge:
		return problem{http.StatusRequestEntityTooLarge, "too-long", "The body is too large.", false}
	case badMedia:
		return problem{http.StatusUnsupportedMediaType, "not-supported", "Bodies are application/fhir+json or application/json (FHIR 4.0), unencoded, only.", false}
	case unprocessable:
		return problem{http.StatusUnprocessableEntity, "processing", "The resource cannot be stored as it is.", false}
	case statementRefused:
		return problem{http.StatusUnprocessableEntity, "business-rule", "The statement is not accepted as it is, and has no effect.", false}
	case identifierAsID:
		return problem{http.StatusUnprocessableEntity, "business-rule", "A resource's id must not be one of its identifiers: ids are seen by the store.", false}
	case notSupported:
		return problem{http.StatusNotImplemented, "not-supported", "The interaction is not supported.", false}
	case wide:
		return problem{http.StatusForbidden, "not-supported", "The history of a type, or of everything, is not given out.", false}
	case tooCostly:
		return problem{http.StatusBadRequest, "too-costly", "The search is too wide. Narrow it: name a patient.", false}
	case stalePage:
		return problem{http.StatusForbidden, "expired", "The page has ended, or was made for another caller or query. Search again.", false}
	case integrity:
		return problem{http.StatusInternalServerError, "security", "What the store holds is not what was sealed. Nothing was opened; the operators are told.", false}
	case upstreamDown:
		return problem{http.StatusServiceUnavailable, "transient", "The record store does not answer. Nothing was disclosed.", true}
	case quorumDown:
		return problem{http.StatusServiceUnavailable, "transient", "Too few custodians answer to open a record. Nothing was disclosed.", true}
	case logDown:
		return problem{http.StatusServiceUnavailable, "transient", "The access log cannot be written. Nothing was disclosed and nothing stored.", true}
	case unconfirmed:
		return problem{http.StatusServiceUnavailable, "transient", "Recorded in the log; it takes effect when enough custodians hold it.", true}
	case held:
		return problem{http.StatusServiceUnavailable, "transient", "The access log is being compared with the custodians' copies of it. Nothing was disclosed and nothing stored.", true}
	case busy:
		return problem{http.StatusServiceUnavailable, "throttled", "Too much at once. Try again in a moment.", true}
	default:
		return problem{http.StatusInternalServerError, "exception", "Something went wrong here. Nothing more was disclosed.", false}
	}
}

// A refusal is an error of the request path that knows its line of the table.
type refusal struct {
	kind   kind
	detail string // what in the request is meant; from the request's own form, never from a record
	allow  string // for badMethod: the methods that are served
	err    error  // for the log alone; may be nil
}

func (r *refusal) Error() string {
	s := r.kind.problem().text
	if r.detail != "" {
		s += " (" + r.detail + ")"
	}
	if r.err != nil {
		s += ": " + r.err.Error()
	}
	return s
}

func (r *refusal) Unwrap() error { return r.err }

func refuse(k kind, err error) error        { return &refusal{kind: k, err: err} }
func refuseFor(k kind, detail string) error { return &refusal{kind: k, detail: detail} }
func badRequest(detail string) error        { return refuseFor(malformed, detail) }

// unknownParameter names the parameter when it looks like one, so that a typing
// mistake is found; whatever else was sent in its place is not echoed.
func unknownParameter(name string) error {
	if !paramName(name) {
		return refuseFor(unknownParam, "")
	}
	return refuseFor(unknownParam, name)
}

func paramName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == ':', r == '.':
		default:
			return false
		}
	}
	return true
}

// classify finds the line for any error: those of the packages below by their
// sentinels and types, the rest as internal.
func classify(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if e, ok := errors.AsType[*fhir.SyntaxError](err); ok {
		return &refusal{kind: malformed, detail: syntaxPlace(e), err: err}
	}
	if e, ok := errors.AsType[*fhir.QueryError](err); ok {
		return &refusal{kind: queryFault(e), detail: queryPlace(e), err: err}
	}
	if _, ok := errors.AsType[*records.RefusedError](err); ok {
		return &refusal{kind: hidden, err: err}
	}
	if e, ok := errors.AsType[*client.RejectedError](err); ok && e.Status == http.StatusRequestEntityTooLarge {
		return &refusal{kind: tooLarge, err: fmt.Errorf("upstream answered %d", e.Status)}
	}
	if e, ok := errors.AsType[*client.RejectedError](err); ok && !errors.Is(err, client.ErrConflict) {
		return &refusal{kind: unprocessable, err: fmt.Errorf("upstream answered %d", e.Status)}
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return &refusal{kind: kindOfStatus(e.Code), err: err}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &refusal{kind: tooLarge, err: err}
	}
	for _, line := range []struct {
		sentinel error
		kind     kind
	}{
		{smart.ErrToken, unauthenticated},
		{chain.ErrUnavailable, logDown},
		{records.ErrTooFewShares, quorumDown},
		{client.ErrUnavailable, upstreamDown},
		{client.ErrConflict, conflicted},
		{context.DeadlineExceeded, busy},
		{context.Canceled, busy},
	} {
		if errors.Is(err, line.sentinel) {
			return &refusal{kind: line.kind, err: err}
		}
	}
	return &refusal{kind: internal, err: err}
}

// kindOfStatus is for what the router answers by itself.
func kindOfStatus(status int) kind {
	switch status {
	case http.StatusNotFound:
		return notServed
	case http.StatusMethodNotAllowed:
		return badMethod
	case http.StatusRequestEntityTooLarge:
		return tooLarge
	default:
		return internal
	}
}

// syntaxPlace says where a body is wrong, and how, without repeating what stands
// there.
func syntaxPlace(e *fhir.SyntaxError) string {
	if e.Path == "" {
		return e.Reason
	}
	return "at " + e.Path + ": " + e.Reason
}

// queryFault tells a parameter that is not served from one that is and was given
// a value that it does not take.
func queryFault(e *fhir.QueryError) kind {
	if strings.HasPrefix(e.Reason, "unknown for ") || strings.Contains(e.Reason, "support") || strings.Contains(e.Reason, "modifier") {
		return unknownParam
	}
	return badValue
}

// queryPlace names the parameter that cannot be served.
func queryPlace(e *fhir.QueryError) string {
	if !paramName(e.Param) {
		return ""
	}
	return e.Param + ": " + e.Reason
}

// outcome renders the refusal for a FHIR client.
func (r *refusal) outcome() *fhir.Resource {
	p := r.kind.problem()
	return fhir.Outcome(fhir.Issue{Severity: "error", Code: p.code, Details: p.text, Diagnostics: clip(r.detail)})
}
