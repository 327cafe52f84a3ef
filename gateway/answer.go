package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
)

// An answer is what an interaction came to. One function renders it, so that
// routes differ in what they say and not in how.
type answer struct {
	status   int
	resource *fhir.Resource // nil for none
	revision string         // the ETag; "" for none
	modified time.Time      // Last-Modified; zero for none
	location string         // "" for none
	returned []chain.Entry  // what the log is told once the answer has left
}

// etag is a revision as an entity tag: weak, since the same revision may be
// rendered in more than one way (FHIR R4 §3.1.0.3).
func etag(revision string) string { return `W/"` + revision + `"` }

// send renders the answer, and has what it gave away written down.
func (g *Gateway) send(c echo.Context, k *call, a answer) error {
	h := c.Response().Header()
	g.stamp(h, k)
	if a.revision != "" {
		h.Set("ETag", etag(a.revision))
	}
	if !a.modified.IsZero() {
		h.Set("Last-Modified", a.modified.UTC().Format(http.TimeFormat))
	}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	var err error
	if a.resource == nil {
		err = c.NoContent(a.status)
	} else {
		err = writeJSON(c, a.status, mediaFHIR+"; charset=utf-8", a.resource.JSON())
	}
	if err == nil {
		g.returned.add(a.returned)
	}
	return err
}

// stamp says which entries of the log the request left.
func (g *Gateway) stamp(h http.Header, k *call) {
	if k == nil {
		return
	}
	if entries := k.entryHeader(); entries != "" {
		h.Set("Wardkey-Entry", entries)
	}
}

// writeJSON states the length itself, so that HEAD says what GET would.
func writeJSON(c echo.Context, status int, contentType string, body []byte) error {
	w := c.Response()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(body)
	return err
}

// fail renders an error as an OperationOutcome, by the table.
func (g *Gateway) fail(c echo.Context, k *call, err error) error {
	r := classify(err)
	p := r.kind.problem()
	h := c.Response().Header()
	g.stamp(h, k)
	if r.kind == unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="wardkey"`)
	}
	if p.retry {
		h.Set("Retry-After", "2")
	}
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	if k != nil && k.reason != "" {
		c.Set(keyReason, string(k.reason))
	}
	g.note(c.Request().Context(), c, k, r, p)
	if c.Response().Committed {
		return nil
	}
	return writeJSON(c, p.status, mediaFHIR+"; charset=utf-8", r.outcome().JSON())
}

// note tells the operator what went wrong: the error's text where the fault is
// on our side of the wire, and the table's line alone where it is the caller's,
// whose mistakes may quote a record.
func (g *Gateway) note(ctx context.Context, c echo.Context, k *call, r *refusal, p problem) {
	if p.status < http.StatusInternalServerError || r.err == nil {
		return
	}
	attrs := []any{slog.String("request", requestID(c)), slog.Int("status", p.status), failure(r.err)}
	if k != nil {
		attrs = append(attrs, slog.String("entries", k.entryHeader()))
	}
	g.log.ErrorContext(ctx, "request failed", attrs...)
}

const (
	keyRequestID = "wardkey.request"
	keyReason    = "wardkey.reason" // of a denial, for the operator
)

// requestID is the request's id and its entries' correlation. A client's own
// X-Request-Id is not taken over: it would be content that somebody else chose,
// in our logs.
func requestID(c echo.Context) string {
	id, _ := c.Get(keyRequestID).(string)
	return id
}

// guard is around everything: headers that every answer has, the check of the
// target before routing, one line for the operator, and the last net under a
// programmer's mistake.
func (g *Gateway) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		started := time.Now()
		r, h := c.Request(), c.Response().Header()
		id := newID()
		c.Set(keyRequestID, id)
		h.Set("X-Request-Id", id)
		h.Set("Cache-Control", "private, no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Vary", "Authorization, Accept, Wardkey-Purpose")
		if len(r.TransferEncoding) > 0 {
			// RFC 9112 §6.1: a message that states a length as well may be two for
			// somebody on the way; nothing more is read from this connection.
			h.Set("Connection", "close")
		}
		defer func() {
			if v := recover(); v != nil {
				// The panic's text could quote a record; its place is enough.
				g.log.ErrorContext(r.Context(), "panic", slog.String("request", id), slog.String("stack", string(debug.Stack())))
				err = g.fail(c, nil, refuse(internal, nil))
			}
			status := c.Response().Status
			took := time.Since(started)
			g.metrics.request(r.Method, c.Path(), status, took)
			reason, _ := c.Get(keyReason).(string)
			g.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("request", id), slog.String("method", methodName(r.Method)), slog.String("route", c.Path()),
				slog.Int("status", status), slog.String("reason", reason), slog.String("entries", h.Get("Wardkey-Entry")), slog.Duration("took", took))
		}()
		baseWithSlash(r)
		if err := checkTarget(r.RequestURI); err != nil {
			return g.fail(c, nil, err)
		}
		if err := next(c); err != nil {
			return g.fail(c, nil, err)
		}
		return nil
	}
}

// methodName keeps invented methods out of logs and metrics.
func methodName(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return m
	}
	return "other"
}
