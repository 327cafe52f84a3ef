package store

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"database/sql"

	"github.com/wardkey/wardkey/fhir"
)

// errEnough ends a scan that has found what it wanted.
var errEnough = errors.New("enough")

func (s *Store) search(r *request) (*answer, error) {
	values, after := r.query, int64(0)
	if text, ok := values[pageParam]; ok && len(values) == 1 && len(text) == 1 {
		c, err := s.openCursor(text[0], r.about("_search"))
		if err != nil {
			return nil, err
		}
		after = c.After
		if values, err = url.ParseQuery(c.Query); err != nil {
			return nil, err
		}
	}
	q, err := fhir.ParseQuery(r.typ, values, fhir.QueryOptions{Base: r.base, Now: s.config.Now(), MaxCount: s.config.MaxPage})
	switch {
	case err != nil:
		return nil, err
	case q.Page != "":
		return nil, &fhir.QueryError{Param: pageParam, Reason: "a page link has no other parameters"}
	case len(q.Sort) > 0:
		return nil, &fhir.QueryError{Param: "_sort", Reason: "not supported"}
	}
	var bundle fhir.Bundle
	if q.CountOnly {
		bundle, err = s.count(r, q)
	} else {
		bundle, err = s.page(r, q, after)
	}
	if err != nil {
		return nil, s.readError(err)
	}
	resource, err := bundle.Resource()
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, resource: resource.JSON()}, nil
}

// searchset begins the answer. The self link repeats what was asked the way it was
// asked: a search that came in a body does not go back in a URL.
func searchset(r *request) fhir.Bundle {
	self := r.base + "/" + r.typ
	if r.Method == http.MethodPost {
		self += "/_search"
	} else {
		self = withQuery(self, r.query.Encode())
	}
	return fhir.Bundle{Type: "searchset", Links: []fhir.Link{{Relation: "self", URL: self}}}
}

// page collects the matches from after on. It ends when the page is full by number
// or by size, or after as many candidates as one request may look at; then a link
// says where to go on, and the page may well be short (R4 §3.1.1.5.6).
func (s *Store) page(r *request, q fhir.Query, after int64) (fhir.Bundle, error) {
	bundle := searchset(r)
	count, size := orDefault(q.Count, s.config.Page), 0
	last, doubts := after, 0
	full := false
	more, err := s.scan(r, q, after, func(key int64, resource *fhir.Resource, err error) error {
		if err == nil && resource != nil {
			size += len(resource.JSON())
			if len(bundle.Entries) == count || len(bundle.Entries) > 0 && size > s.config.PageBytes {
				full = true
				return errEnough
			}
			bundle.Entries = append(bundle.Entries, fhir.BundleEntry{
				FullURL: r.base + "/" + resource.Ref().String(), Resource: resource, SearchMode: "match",
			})
		}
		if err != nil {
			doubts++
		}
		last = key
		return nil
	})
	if err != nil {
		return bundle, err
	}
	if full || more {
		next, err := s.sealCursor(cursor{Query: q.Values().Encode(), After: last}, r.about("_search"))
		if err != nil {
			return bundle, err
		}
		bundle.Links = append(bundle.Links, fhir.Link{Relation: "next", URL: fmt.Sprintf("%s/%s?%s=%s", r.base, r.typ, pageParam, next)})
	} else if after == 0 && doubts == 0 {
		total := len(bundle.Entries)
		bundle.Total = &total
	}
	if doubts > 0 {
		bundle.Entries = append(bundle.Entries, fhir.BundleEntry{SearchMode: "outcome", Resource: fhir.Outcome(fhir.Issue{
			Severity: "warning", Code: "incomplete", Details: fmt.Sprintf("%d resources could not be compared with the search, and are left out", doubts),
		})})
	}
	return bundle, nil
}

// count answers _count=0.
func (s *Store) count(r *request, q fhir.Query) (fhir.Bundle, error) {
	bundle := searchset(r)
	total := 0
	more, err := s.scan(r, q, 0, func(_ int64, resource *fhir.Resource, err error) error {
		if resource != nil {
			total++
		}
		return err
	})
	if err == nil && more {
		err = &problem{status: http.StatusBadRequest, code: "too-costly", text: "too many resources to count; add a parameter that narrows the search"}
	}
	bundle.Total = &total
	return bundle, err
}

// scan visits the candidates in the order of their keys: with the resource if it
// matches, with nil if it does not, with an error if that cannot be told. It reports
// whether there are more candidates than one request may look at.
func (s *Store) scan(r *request, q fhir.Query, after int64, visit func(int64, *fhir.Resource, error) error) (more bool, err error) {
	narrowed := candidates(q, after, s.config.Candidates+1)
	rows, err := s.readers.QueryContext(r.Context(), narrowed.sql, narrowed.args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	decided := byIDAlone(q)
	for seen := 0; rows.Next(); seen++ {
		if seen == s.config.Candidates {
			return true, nil
		}
		var key int64
		var body sql.RawBytes
		if err := rows.Scan(&key, &body); err != nil {
			return false, err
		}
		if key <= after {
			return false, errors.New("candidates out of order")
		}
		after = key
		resource, err := s.kept(body)
		if err != nil {
			return false, fmt.Errorf("what is stored under key %d: %w", key, err)
		}
		matches := decided
		if !decided {
			if matches, err = fhir.Match(q, resource); err != nil {
				s.log.WarnContext(r.Context(), "match", slog.String("resource", resource.String()), slog.Any("error", err))
			}
		}
		if err != nil || !matches {
			resource = nil
		}
		switch err := visit(key, resource, err); {
		case errors.Is(err, errEnough):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return false, rows.Err()
}

// byIDAlone tells searches for nothing but ids, which the table decides as exactly as
// fhir.Match would.
func byIDAlone(q fhir.Query) bool {
	for _, t := range q.Terms {
		if t.Param.Name != "_id" || t.Modifier != "" {
			return false
		}
		for _, v := range t.Values {
			if !v.AnySystem || v.Coding.Code == "" {
				return false
			}
		}
	}
	return len(q.Terms) > 0
}
