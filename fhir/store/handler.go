package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wardkey/wardkey/fhir"
)

// root is the path below which the store answers.
const root = "/fhir"

// longestQuery bounds the parameters of a search, in bytes: they come back in links.
const longestQuery = 16 << 10

// Handler answers requests to /fhir and below. It bounds bodies, time and requests
// in flight by the store's [Config]; limits on headers and idle connections are the
// http.Server's.
func (s *Store) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// request is one request on its way through an interaction.
type request struct {
	*http.Request
	base  string // of links, without a trailing slash
	typ   string
	id    string
	rest  string // the version id of a vread
	query url.Values
	body  []byte
}

// answer is what an interaction has to say.
type answer struct {
	status   int
	header   map[string]string
	resource []byte // JSON; nil for no body
}

type interaction func(*Store, *request) (*answer, error)

// routes are the interactions by path shape and method.
type routes map[string]interaction

func (s *Store) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	defer func() {
		if p := recover(); p != nil {
			// The panic's value may hold content; its place is what helps.
			s.log.ErrorContext(ctx, "panic", slog.String("method", r.Method), slog.String("type", fmt.Sprintf("%T", p)))
			s.write(w, r, problemAnswer(&problem{status: http.StatusInternalServerError, code: "exception", text: "an internal error"}))
		}
	}()
	a, err := s.answer(w, r)
	if err != nil {
		p := s.problem(r, err)
		a = problemAnswer(p)
	}
	s.write(w, r, a)
}

func (s *Store) answer(w http.ResponseWriter, r *http.Request) (*answer, error) {
	select {
	case <-s.closed:
		return nil, errClosed
	default:
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return nil, &problem{status: http.StatusServiceUnavailable, code: "throttled", text: "too many requests at once"}
	}
	if err := acceptable(r); err != nil {
		return nil, err
	}
	req, table, err := s.route(r)
	if err != nil {
		return nil, err
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	act, ok := table[method]
	if !ok {
		return nil, &problem{
			status: http.StatusMethodNotAllowed, code: "not-supported",
			text: "this method is not supported here", header: map[string]string{"Allow": table.allow()},
		}
	}
	if err := s.readBody(w, req); err != nil {
		return nil, err
	}
	return act(s, req)
}

// route finds what a path may be asked, and checks the type and id in it.
func (s *Store) route(r *http.Request) (*request, routes, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > longestQuery {
		return nil, nil, &problem{status: http.StatusBadRequest, code: "invalid", text: "a query string that is malformed or too long"}
	}
	query.Del("_format") // looked at by acceptable
	req := &request{Request: r, base: s.baseOf(r), query: query}

	path, ok := strings.CutPrefix(r.URL.EscapedPath(), root)
	if !ok || path != "" && path[0] != '/' {
		return nil, nil, unknownPath()
	}
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if len(segments) == 1 {
		switch segments[0] {
		case "":
			return req, routes{}, nil
		case "metadata":
			return req, routes{http.MethodGet: (*Store).metadata}, nil
		}
	}
	if req.typ = segments[0]; !fhir.KnownType(req.typ) {
		return nil, nil, &problem{status: http.StatusNotFound, code: "not-supported", text: "not a resource type of FHIR R4"}
	}
	switch segments = segments[1:]; {
	case len(segments) == 0:
		return req, routes{http.MethodGet: (*Store).search, http.MethodPost: (*Store).create}, nil
	case len(segments) == 1 && segments[0] == "_search":
		return req, routes{http.MethodPost: (*Store).search}, nil
	case strings.HasPrefix(segments[0], "$"), strings.HasPrefix(segments[len(segments)-1], "$"):
		return nil, nil, &problem{status: http.StatusNotFound, code: "not-supported", text: "operations are not supported"}
	case segments[0] == "_history":
		return nil, nil, &problem{status: http.StatusNotFound, code: "not-supported", text: "only single resources have a history here"}
	}
	if req.id = segments[0]; !fhir.ValidID(req.id) {
		return nil, nil, &problem{status: http.StatusBadRequest, code: "value", text: "not a FHIR id"}
	}
	switch segments = segments[1:]; {
	case len(segments) == 0:
		return req, routes{
			http.MethodGet: (*Store).read, http.MethodPut: (*Store).replace, http.MethodDelete: (*Store).remove,
		}, nil
	case len(segments) == 1 && segments[0] == "_history":
		return req, routes{http.MethodGet: (*Store).history}, nil
	case len(segments) == 2 && segments[0] == "_history":
		req.rest = segments[1]
		return req, routes{http.MethodGet: (*Store).vread}, nil
	}
	return nil, nil, unknownPath()
}

func unknownPath() *problem {
	return &problem{status: http.StatusNotFound, code: "not-found", text: "nothing is here"}
}

// allow lists methods for the header of that name.
func (t routes) allow() string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, ok := t[m]; ok || m == http.MethodHead && t[http.MethodGet] != nil {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

// baseOf is what links begin with: as configured, or as the request came in. Forwarding
// headers are not believed, since anybody can send them.
func (s *Store) baseOf(r *http.Request) string {
	if s.base != nil {
		return s.base.String()
	}
	base := url.URL{Scheme: "http", Host: r.Host, Path: root}
	if r.TLS != nil {
		base.Scheme = "https"
	}
	return base.String()
}

func (s *Store) write(w http.ResponseWriter, r *http.Request, a *answer) {
	h := w.Header()
	for name, value := range a.header {
		h.Set(name, value)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.resource != nil {
		h.Set("Content-Type", fhirJSON+";charset=utf-8")
		h.Set("Content-Length", fmt.Sprint(len(a.resource)))
	}
	w.WriteHeader(a.status)
	if _, err := w.Write(a.resource); err != nil && r.Method != http.MethodHead {
		s.log.DebugContext(r.Context(), "answer", slog.Any("error", err))
	}
}
