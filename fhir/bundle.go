package fhir

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrTooManyEntries is returned by [ParseBundle] for a bundle larger than asked for.
var ErrTooManyEntries = errors.New("too many entries in the bundle")

// Bundle is a FHIR Bundle.
type Bundle struct {
	Type      string // searchset, history, batch, transaction, …
	Total     *int   // nil if not stated
	Links     []Link
	Entries   []BundleEntry
	Security  []Coding  // labels of the bundle as a whole (meta.security)
	ID        string    // optional
	Timestamp time.Time // optional
}

// Link is a link of a bundle, such as self or next.
type Link struct{ Relation, URL string }

// BundleEntry is one entry of a bundle.
type BundleEntry struct {
	FullURL    string
	Resource   *Resource // nil if there is none
	SearchMode string    // match, include, outcome, or ""
	Request    *BundleRequest
	Response   *BundleResponse
}

// BundleRequest is what an entry asks for (batch, transaction) or was caused by (history).
type BundleRequest struct {
	Method, URL                       string
	IfMatch, IfNoneMatch, IfNoneExist string
	IfModifiedSince                   time.Time
}

// BundleResponse is the answer to one entry.
type BundleResponse struct {
	Status       string // "200 OK"; the number comes first
	Location     string
	ETag         string // W/"3"
	LastModified time.Time
	Outcome      *Resource
}

// Resource renders the bundle. The resources in it are not looked at again, so that
// this costs a copy. The error is a [*SyntaxError].
func (b Bundle) Resource() (*Resource, error) {
	w := bundleWriter{out: []byte(`{"resourceType":"Bundle"`)}
	w.text("id", b.ID)
	if len(b.Security) > 0 {
		w.open("meta", '{').open("security", '[')
		for i, c := range b.Security {
			w.item(i, '{')
			w.text("system", c.System)
			w.text("version", c.Version)
			w.text("code", c.Code)
			w.text("display", c.Display)
			w.end('}')
		}
		w.end(']').end('}')
	}
	w.text("type", b.Type)
	w.time("timestamp", b.Timestamp)
	if b.Total != nil {
		if *b.Total < 0 {
			return nil, &SyntaxError{Path: "total", Reason: "negative"}
		}
		w.out = appendIntMember(w.out, "total", *b.Total)
	}
	if len(b.Links) > 0 {
		w.open("link", '[')
		for i, l := range b.Links {
			w.item(i, '{')
			w.text("relation", l.Relation)
			w.text("url", l.URL)
			w.end('}')
		}
		w.end(']')
	}
	if len(b.Entries) > 0 {
		w.open("entry", '[')
		for i := range b.Entries {
			w.item(i, '{')
			w.entry(&b.Entries[i])
			w.end('}')
		}
		w.end(']')
	}
	w.end('}')
	if w.bad {
		return nil, &SyntaxError{Reason: "text that no FHIR string may hold"}
	}
	return fromChecked(w.out)
}

// bundleWriter puts JSON together; bad is set by text that no FHIR string may hold.
type bundleWriter struct {
	out []byte
	bad bool
}

func (w *bundleWriter) name(name string) {
	if w.out[len(w.out)-1] != '{' {
		w.out = append(w.out, ',')
	}
	w.out = append(append(append(w.out, '"'), name...), '"', ':')
}

func (w *bundleWriter) open(name string, bracket byte) *bundleWriter {
	w.name(name)
	w.out = append(w.out, bracket)
	return w
}

func (w *bundleWriter) item(i int, bracket byte) {
	if i > 0 {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, bracket)
}

func (w *bundleWriter) end(bracket byte) *bundleWriter {
	w.out = append(w.out, bracket)
	return w
}

func (w *bundleWriter) text(name, s string) {
	if s == "" {
		return
	}
	w.bad = w.bad || !isClean(s)
	w.name(name)
	w.out = appendText(w.out, s)
}

func (w *bundleWriter) time(name string, t time.Time) {
	if !t.IsZero() {
		w.text(name, FormatInstant(t))
	}
}

func (w *bundleWriter) resource(name string, r *Resource) {
	if r != nil {
		w.name(name)
		w.out = append(w.out, r.json...)
	}
}

func (w *bundleWriter) entry(e *BundleEntry) {
	w.text("fullUrl", e.FullURL)
	w.resource("resource", e.Resource)
	if e.SearchMode != "" {
		w.open("search", '{').text("mode", e.SearchMode)
		w.end('}')
	}
	if q := e.Request; q != nil {
		w.open("request", '{').text("method", q.Method)
		w.text("url", q.URL)
		w.text("ifNoneMatch", q.IfNoneMatch)
		w.time("ifModifiedSince", q.IfModifiedSince)
		w.text("ifMatch", q.IfMatch)
		w.text("ifNoneExist", q.IfNoneExist)
		w.end('}')
	}
	if a := e.Response; a != nil {
		w.open("response", '{').text("status", a.Status)
		w.text("location", a.Location)
		w.text("etag", a.ETag)
		w.time("lastModified", a.LastModified)
		w.resource("outcome", a.Outcome)
		w.end('}')
	}
}

// ParseBundle reads a Bundle with at most limit entries (no limit if zero). The
// resources in it are checked as far as [Parse] checks and share the bundle's
// memory; elements that Bundle has no field for are left out. The error is
// [ErrTooManyEntries] or a [*SyntaxError].
func ParseBundle(r *Resource, limit int) (Bundle, error) {
	if r.typ != "Bundle" {
		return Bundle{}, &SyntaxError{Path: "resourceType", Reason: "not a Bundle"}
	}
	b := Bundle{ID: r.id, Security: r.Meta().Security}
	for name, value := range members(r.json) {
		var err error
		switch string(name) {
		case "type":
			err = readText(value, &b.Type)
		case "timestamp":
			err = readTime(value, &b.Timestamp)
		case "total":
			b.Total, err = parseTotal(value)
		case "link":
			b.Links, err = parseList(value, 0, parseLink)
		case "entry":
			b.Entries, err = parseList(value, limit, parseEntry)
		}
		if err != nil {
			return Bundle{}, within(string(name), err)
		}
	}
	return b, nil
}

func parseTotal(value []byte) (*int, error) {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return nil, &SyntaxError{Reason: "not a count"}
	}
	return new(int(n)), nil
}

func parseList[T any](array []byte, limit int, parse func([]byte) (T, error)) ([]T, error) {
	if array[0] != '[' {
		return nil, &SyntaxError{Reason: "not a list"}
	}
	var all []T
	for v := range items(array) {
		if limit > 0 && len(all) == limit {
			return nil, fmt.Errorf("%w: more than %d", ErrTooManyEntries, limit)
		}
		one, err := parse(v)
		if err != nil {
			return nil, within(fmt.Sprintf("[%d]", len(all)), err)
		}
		all = append(all, one)
	}
	return all, nil
}

func parseLink(object []byte) (l Link, err error) {
	err = readMembers(object, func(name string, value []byte) error {
		switch name {
		case "relation":
			return readText(value, &l.Relation)
		case "url":
			return readText(value, &l.URL)
		}
		return nil
	})
	return l, err
}

func parseEntry(object []byte) (e BundleEntry, err error) {
	err = readMembers(object, func(name string, value []byte) (err error) {
		switch name {
		case "fullUrl":
			return readText(value, &e.FullURL)
		case "resource":
			e.Resource, err = readResource(value)
		case "search":
			return readMembers(value, func(name string, value []byte) error {
				if name == "mode" {
					return readText(value, &e.SearchMode)
				}
				return nil
			})
		case "request":
			e.Request, err = parseRequest(value)
		case "response":
			e.Response, err = parseResponse(value)
		}
		return err
	})
	return e, err
}

func parseRequest(object []byte) (*BundleRequest, error) {
	q := new(BundleRequest)
	return q, readMembers(object, func(name string, value []byte) error {
		switch name {
		case "method":
			return readText(value, &q.Method)
		case "url":
			return readText(value, &q.URL)
		case "ifMatch":
			return readText(value, &q.IfMatch)
		case "ifNoneMatch":
			return readText(value, &q.IfNoneMatch)
		case "ifNoneExist":
			return readText(value, &q.IfNoneExist)
		case "ifModifiedSince":
			return readTime(value, &q.IfModifiedSince)
		}
		return nil
	})
}

func parseResponse(object []byte) (*BundleResponse, error) {
	a := new(BundleResponse)
	return a, readMembers(object, func(name string, value []byte) (err error) {
		switch name {
		case "status":
			return readText(value, &a.Status)
		case "location":
			return readText(value, &a.Location)
		case "etag":
			return readText(value, &a.ETag)
		case "lastModified":
			return readTime(value, &a.LastModified)
		case "outcome":
			a.Outcome, err = readResource(value)
		}
		return err
	})
}

// readMembers calls f for each member of what must be an object.
func readMembers(value []byte, f func(name string, value []byte) error) error {
	if value[0] != '{' {
		return &SyntaxError{Reason: "not an object"}
	}
	for name, v := range members(value) {
		if err := f(string(name), v); err != nil {
			return within(string(name), err)
		}
	}
	return nil
}

func readText(value []byte, into *string) error {
	s, ok := text(value)
	if !ok {
		return &SyntaxError{Reason: "not a string"}
	}
	*into = s
	return nil
}

func readTime(value []byte, into *time.Time) error {
	s, _ := text(value)
	t, err := parseInstant(s)
	if err != nil {
		return &SyntaxError{Reason: "not an instant"}
	}
	*into = t
	return nil
}

func readResource(value []byte) (*Resource, error) {
	if value[0] != '{' {
		return nil, &SyntaxError{Reason: "not an object"}
	}
	return fromChecked(value)
}
