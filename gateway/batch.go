package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// batch answers POST of a Bundle of type batch: each entry is a request of its
// own through the same handlers, with the same session, in no order (FHIR R4
// §3.1.0.11.2), each decided and logged by itself. A transaction is refused: half
// a promise of all-or-nothing is worse than none.
func (g *Gateway) batch(c echo.Context) error {
	ctx := c.Request().Context()
	k := &call{correlation: requestID(c), now: g.now(), header: c.Request().Header}
	b, err := g.readBatch(ctx, c, k)
	if err != nil {
		return g.fail(c, k, err)
	}
	answers := make([]fhir.BundleEntry, len(b.Entries))
	var entries sync.Map // of the log, by position
	together, ctx := errgroup.WithContext(ctx)
	together.SetLimit(g.c.Limits.Parallel)
	for i, e := range b.Entries {
		together.Go(func() error {
			r := g.one(ctx, c.Request(), e)
			answers[i] = r.entry()
			entries.Store(i, r.header.Get("Wardkey-Entry"))
			return nil
		})
	}
	if err := together.Wait(); err != nil {
		return g.fail(c, k, err)
	}
	var left []string
	for i := range b.Entries {
		if v, ok := entries.Load(i); ok && v.(string) != "" {
			left = append(left, strings.Split(v.(string), ",")...)
		}
	}
	if len(left) > 0 {
		slices.SortFunc(left, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // numbers, in their one spelling
		c.Response().Header().Set("Wardkey-Entry", strings.Join(left, ","))
	}
	resource, err := fhir.Bundle{Type: "batch-response", Timestamp: k.now, Entries: answers}.Resource()
	if err != nil {
		return g.fail(c, k, refuse(internal, err))
	}
	return writeJSON(c, http.StatusOK, mediaFHIR+"; charset=utf-8", resource.JSON())
}

// readBatch checks who asks, and what the bundle is.
func (g *Gateway) readBatch(ctx context.Context, c echo.Context, k *call) (fhir.Bundle, error) {
	var err error
	if k.session, err = g.authenticate(c.Request()); err != nil {
		return fhir.Bundle{}, err
	}
	if len(k.session.Scope) == 0 {
		k.interaction = "batch"
		return fhir.Bundle{}, g.refuseEarly(ctx, k, policy.Scope, refuse(scopeMissing, nil))
	}
	query, err := parseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return fhir.Bundle{}, err
	}
	if !acceptable(c.Request().Header, query) {
		return fhir.Bundle{}, refuse(badAccept, nil)
	}
	if err := only(query, "_format"); err != nil {
		return fhir.Bundle{}, err
	}
	body, err := g.readBody(c, isJSON)
	if err != nil {
		return fhir.Bundle{}, err
	}
	r, err := fhir.Parse(body, fhir.Limits{Bytes: int(g.c.Limits.Body)})
	if err != nil {
		return fhir.Bundle{}, err
	}
	if r.Type() != "Bundle" {
		return fhir.Bundle{}, badRequest("not a Bundle")
	}
	b, err := fhir.ParseBundle(r, g.c.Limits.Batch)
	switch {
	case errors.Is(err, fhir.ErrTooManyEntries):
		return b, refuseFor(tooLarge, fmt.Sprintf("a batch has at most %d entries", g.c.Limits.Batch))
	case err != nil:
		return b, err
	case b.Type == "transaction":
		return b, refuseFor(notSupported, "transaction; send a batch")
	case b.Type != "batch":
		return b, badRequest("a Bundle of another type than batch")
	}
	return b, nil
}

// one runs an entry of a batch through the same routes as any request.
func (g *Gateway) one(ctx context.Context, outer *http.Request, e fhir.BundleEntry) *recorded {
	w := &recorded{header: http.Header{}}
	r, err := g.entryRequest(ctx, outer, e)
	if err != nil {
		refusal := classify(err)
		p := refusal.kind.problem()
		w.WriteHeader(p.status)
		w.body.Write(refusal.outcome().JSON())
		return w
	}
	g.fhirEcho.ServeHTTP(w, r)
	return w
}

// entryRequest makes the request of an entry: its own method, target, condition
// and body; the batch's session and purpose.
func (g *Gateway) entryRequest(ctx context.Context, outer *http.Request, e fhir.BundleEntry) (*http.Request, error) {
	q := e.Request
	if q == nil {
		return nil, badRequest("an entry without a request")
	}
	target := strings.TrimPrefix(q.URL, g.c.Base+"/")
	if target == "" || strings.HasPrefix(target, "/") || strings.Contains(target, "://") {
		return nil, badRequest("an entry's URL is not relative to the base")
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch:
	default:
		return nil, badRequest("an entry's method")
	}
	var body []byte
	if e.Resource != nil {
		body = e.Resource.JSON()
	}
	target = "/fhir/" + target
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, badRequest("an entry's URL")
	}
	r.RequestURI = target
	for _, name := range []string{"Authorization", "Wardkey-Purpose", "Prefer"} {
		r.Header[name] = outer.Header.Values(name)
	}
	for name, value := range map[string]string{"If-Match": q.IfMatch, "If-None-Match": q.IfNoneMatch, "If-None-Exist": q.IfNoneExist} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if !q.IfModifiedSince.IsZero() {
		r.Header.Set("If-Modified-Since", q.IfModifiedSince.UTC().Format(http.TimeFormat))
	}
	if body != nil {
		r.Header.Set("Content-Type", mediaFHIR)
	}
	return r, nil
}

// recorded is the answer to one entry of a batch.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorded) Header() http.Header { return w.header }

func (w *recorded) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorded) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// entry renders the answer as a bundle's entry. What cannot be read back as a
// resource is left out.
func (w *recorded) entry() fhir.BundleEntry {
	w.WriteHeader(http.StatusOK)
	e := fhir.BundleEntry{Response: &fhir.BundleResponse{
		Status:   fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Location: w.header.Get("Location"), ETag: w.header.Get("ETag"),
	}}
	if t, err := http.ParseTime(w.header.Get("Last-Modified")); err == nil {
		e.Response.LastModified = t
	}
	if w.body.Len() == 0 {
		return e
	}
	r, err := fhir.Parse(w.body.Bytes(), fhir.Limits{Bytes: w.body.Len()})
	switch {
	case err != nil:
	case r.Type() == "OperationOutcome":
		e.Response.Outcome = r
	default:
		e.Resource = r
	}
	return e
}
