package store

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

// historyPage is which part of a history is asked for.
type historyPage struct {
	query  string // as it came, for the next page
	count  int
	since  int64 // Unix milliseconds; versions from then on
	before int64 // version numbers below
}

// historyPage reads _count and _since, or a cursor.
func (s *Store) historyPage(r *request) (historyPage, error) {
	page := historyPage{count: s.config.Page, since: math.MinInt64, before: math.MaxInt64}
	values := r.query
	if text, ok := values[pageParam]; ok && len(values) == 1 && len(text) == 1 {
		c, err := s.openCursor(text[0], r.about("_history"))
		if err != nil {
			return page, err
		}
		page.before = c.After
		if values, err = url.ParseQuery(c.Query); err != nil {
			return page, err
		}
	}
	page.query = values.Encode()
	for name, given := range values {
		var ok bool
		switch {
		case len(given) != 1:
		case name == "_count":
			page.count, ok = s.pageSize(given[0])
		case name == "_since":
			var since fhir.Period
			var err error
			since, err = fhir.ParseDate(given[0], time.UTC)
			page.since, ok = since.From.UnixMilli(), err == nil
		}
		if !ok {
			return page, &problem{status: http.StatusBadRequest, code: "not-supported", text: "this parameter is not supported here, or not with this value", expression: "http." + name}
		}
	}
	return page, nil
}

// pageSize reads _count, which may ask for more than it gets (R4 §3.1.1.5.6).
func (s *Store) pageSize(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, false
	}
	return min(int(n), s.config.MaxPage), true
}

// about names what a cursor is for.
func (r *request) about(what string) string { return r.typ + "/" + r.id + "/" + what }

func (s *Store) historyBundle(r *request, key int64, page historyPage) (fhir.Bundle, error) {
	self := fmt.Sprintf("%s/%s/%s/_history", r.base, r.typ, r.id)
	bundle := fhir.Bundle{Type: "history", Links: []fhir.Link{{Relation: "self", URL: withQuery(self, r.query.Encode())}}}
	rows, err := s.reads.history.QueryContext(r.Context(), key, page.before, page.since, page.count+1)
	if err != nil {
		return bundle, err
	}
	defer rows.Close()
	var last, size int64
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.number, &v.updated, &v.method, &v.body); err != nil {
			return bundle, err
		}
		size += int64(len(v.body))
		if len(bundle.Entries) == page.count || len(bundle.Entries) > 0 && size > int64(s.config.PageBytes) {
			next, err := s.sealCursor(cursor{Query: page.query, After: last}, r.about("_history"))
			if err != nil {
				return bundle, err
			}
			bundle.Links = append(bundle.Links, fhir.Link{Relation: "next", URL: self + "?" + pageParam + "=" + next})
			return bundle, nil
		}
		entry, err := s.historyEntry(r, v)
		if err != nil {
			return bundle, err
		}
		bundle.Entries = append(bundle.Entries, entry)
		last = v.number
	}
	if page.before == math.MaxInt64 {
		total := len(bundle.Entries) // it all fitted
		bundle.Total = &total
	}
	return bundle, rows.Err()
}

func (s *Store) historyEntry(r *request, v version) (fhir.BundleEntry, error) {
	path := r.typ + "/" + r.id
	entry := fhir.BundleEntry{
		FullURL:  r.base + "/" + path,
		Request:  &fhir.BundleRequest{Method: v.method, URL: path},
		Response: &fhir.BundleResponse{Status: "200", ETag: v.etag(), LastModified: time.UnixMilli(v.updated).UTC()},
	}
	switch v.method {
	case http.MethodPost:
		entry.Request.URL, entry.Response.Status = r.typ, "201"
	case http.MethodDelete:
		entry.Response.Status = "204"
		return entry, nil
	}
	var err error
	entry.Resource, err = s.kept(v.body)
	return entry, err
}

// kept reads what was written by this store. It was parsed on its way in, and has
// grown since by its version and time alone.
func (s *Store) kept(body []byte) (*fhir.Resource, error) {
	limits := s.config.Resource
	limits.Bytes = len(body)
	return fhir.Parse(body, limits)
}

func withQuery(u, query string) string {
	if query == "" {
		return u
	}
	return u + "?" + query
}
