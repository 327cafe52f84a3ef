package store

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

// without refuses query parameters: none that changes an answer may be ignored.
func without(r *request) error {
	for name := range r.query {
		return &problem{status: http.StatusBadRequest, code: "not-supported", text: "this parameter is not supported here", expression: "http." + name}
	}
	return nil
}

// withoutHeader refuses preconditions that would have to be kept and are not known.
func withoutHeader(r *request, names ...string) error {
	for _, name := range names {
		if r.Header.Get(name) != "" {
			return &problem{status: http.StatusBadRequest, code: "not-supported", text: name + " is not supported here"}
		}
	}
	return nil
}

func (s *Store) metadata(r *request) (*answer, error) {
	statement, err := s.capabilities()
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, resource: statement.JSON()}, nil
}

func (s *Store) read(r *request) (*answer, error) {
	return s.show(r, s.reads.current, r.typ, r.id)
}

func (s *Store) vread(r *request) (*answer, error) {
	number, ok := versionNumber(r.rest)
	if !ok {
		return nil, notFound()
	}
	return s.show(r, s.reads.version, r.typ, r.id, number)
}

func (s *Store) show(r *request, statement *sql.Stmt, args ...any) (*answer, error) {
	if err := without(r); err != nil {
		return nil, err
	}
	var v version
	err := statement.QueryRowContext(r.Context(), args...).Scan(&v.number, &v.updated, &v.body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, notFound()
	case err != nil:
		return nil, s.readError(err)
	case v.body == nil:
		return nil, &problem{status: http.StatusGone, code: "deleted", text: "it was deleted", header: v.header()}
	}
	if none := r.Header.Get("If-None-Match"); none != "" {
		for _, tag := range strings.Split(none, ",") {
			if number, ok := entityTag(tag); ok && number == v.number {
				return &answer{status: http.StatusNotModified, header: v.header()}, nil
			}
		}
	}
	return &answer{status: http.StatusOK, header: v.header(), resource: v.body}, nil
}

// readError tells a store that was closed under a reader from one that is broken.
func (s *Store) readError(err error) error {
	select {
	case <-s.closed:
		return errClosed
	default:
		return err
	}
}

func notFound() *problem {
	return &problem{status: http.StatusNotFound, code: "not-found", text: "there is no such resource or version"}
}

func (s *Store) create(r *request) (*answer, error) {
	if err := errors.Join(without(r), withoutHeader(r, "If-Match", "If-None-Match", "If-None-Exist")); err != nil {
		return nil, err
	}
	c, err := s.change(r, http.MethodPost)
	if err != nil {
		return nil, err
	}
	c.id = newID()
	return s.make(r, c)
}

func (s *Store) replace(r *request) (*answer, error) {
	if err := errors.Join(without(r), withoutHeader(r, "If-None-Match", "If-None-Exist")); err != nil {
		return nil, err
	}
	c, err := s.change(r, http.MethodPut)
	if err != nil {
		return nil, err
	}
	if c.id = r.id; c.resource.ID() != c.id {
		return nil, &problem{status: http.StatusBadRequest, code: "value", text: "the id in the resource is not the one in the URL", expression: r.typ + ".id"}
	}
	return s.make(r, c)
}

// change reads what is to be written; it is the costly part, and not the writer's.
func (s *Store) change(r *request, method string) (*write, error) {
	resource, err := fhir.Parse(r.body, s.config.Resource)
	if err != nil {
		return nil, err
	}
	if resource.Type() != r.typ {
		return nil, &problem{status: http.StatusBadRequest, code: "value", text: "the resource is not of the type in the URL", expression: "resourceType"}
	}
	c := &write{method: method, typ: r.typ, resource: resource, entries: index(resource)}
	return c, c.precondition(r)
}

// precondition reads If-Match.
func (c *write) precondition(r *request) error {
	header := r.Header.Get("If-Match")
	if header == "" {
		return nil
	}
	number, ok := entityTag(header)
	if !ok {
		// Not one of ours, so certainly not the current one.
		return errStale
	}
	c.ifMatch = number
	return nil
}

func (s *Store) make(r *request, c *write) (*answer, error) {
	if err := s.writer.do(r.Context(), c); err != nil {
		return nil, err
	}
	a := &answer{status: http.StatusOK, header: c.version.header()}
	a.header["Location"] = fmt.Sprintf("%s/%s/%s/_history/%d", r.base, c.typ, c.id, c.version.number)
	if c.created {
		a.status = http.StatusCreated
	}
	switch preference(r) {
	case "minimal":
	case "OperationOutcome":
		a.resource = fhir.Outcome().JSON()
	default:
		a.resource = c.version.body
	}
	return a, nil
}

func (s *Store) remove(r *request) (*answer, error) {
	if err := errors.Join(without(r), withoutHeader(r, "If-None-Match")); err != nil {
		return nil, err
	}
	c := &write{method: http.MethodDelete, typ: r.typ, id: r.id}
	if err := c.precondition(r); err != nil {
		return nil, err
	}
	if err := s.writer.do(r.Context(), c); err != nil {
		return nil, err
	}
	a := &answer{status: http.StatusNoContent}
	if c.version.number > 0 {
		a.header = c.version.header()
	}
	return a, nil
}

func (s *Store) history(r *request) (*answer, error) {
	page, err := s.historyPage(r)
	if err != nil {
		return nil, err
	}
	var key int64
	err = s.reads.key.QueryRowContext(r.Context(), r.typ, r.id).Scan(&key)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, notFound()
	case err != nil:
		return nil, s.readError(err)
	}
	bundle, err := s.historyBundle(r, key, page)
	if err != nil {
		return nil, s.readError(err)
	}
	resource, err := bundle.Resource()
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, resource: resource.JSON()}, nil
}

// header is what every answer about one version says of it.
func (v version) header() map[string]string {
	return map[string]string{
		"ETag":          v.etag(),
		"Last-Modified": time.UnixMilli(v.updated).UTC().Format(http.TimeFormat),
	}
}

func (v version) etag() string { return fmt.Sprintf(`W/"%d"`, v.number) }

// entityTag reads W/"7"; some clients leave out the W/.
func entityTag(s string) (int64, bool) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "W/")
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' {
		return 0, false
	}
	return versionNumber(s[1 : len(s)-1])
}

// versionNumber reads a version id that this store could have given out.
func versionNumber(s string) (int64, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// newID makes a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
