package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// A caller uses the gateway as anybody outside would: over HTTP, with a token.
type caller struct {
	http  *http.Client
	base  string // of the gateway, without a trailing slash
	token string
	saw   func(answer) // is told of every answer, if set
}

// An answer is what came back.
type answer struct {
	method, path string
	status       int
	header       http.Header
	body         []byte
	took         time.Duration
}

// entries are the indexes that Wardkey-Entry names.
func (a answer) entries() []uint64 {
	return lo.FilterMap(strings.Split(a.header.Get("Wardkey-Entry"), ","), func(s string, _ int) (uint64, bool) {
		i, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		return i, err == nil
	})
}

func (a answer) String() string { return fmt.Sprintf("%s %s: %d", a.method, a.path, a.status) }

// unexpected describes an answer that should have been another. Bodies of
// failures hold no record, so they may be shown.
func (a answer) unexpected(want string) error {
	said := ""
	if a.status >= 400 {
		said = ": " + string(bytes.TrimSpace(a.body[:min(len(a.body), 400)]))
	}
	return fmt.Errorf("%s, want %s%s", a, want, said)
}

// resource parses the body.
func (a answer) resource() (*fhir.Resource, error) {
	r, err := fhir.Parse(a.body, fhir.Limits{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a, err)
	}
	return r, nil
}

// as returns the same caller with another token.
func (c caller) as(token string) caller {
	c.token = token
	return c
}

func (c caller) get(ctx context.Context, path string) (answer, error) {
	return c.do(ctx, http.MethodGet, path, nil, nil)
}

// put writes a resource under its own id.
func (c caller) put(ctx context.Context, r *fhir.Resource) (answer, error) {
	return c.do(ctx, http.MethodPut, "/fhir/"+r.Type()+"/"+r.ID(), r.JSON(), fhirJSON())
}

// post sends v as JSON and decodes a 200 or 201 into out, if out is not nil.
func (c caller) post(ctx context.Context, path string, v, out any) (answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return answer{}, fmt.Errorf("POST %s: %w", path, err)
	}
	a, err := c.do(ctx, http.MethodPost, path, body, http.Header{"Content-Type": {"application/json"}})
	if err != nil || out == nil || a.status >= 300 {
		return a, err
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return a, fmt.Errorf("%s: %w", a, err)
	}
	return a, nil
}

// form sends a form, as /oauth wants it.
func (c caller) form(ctx context.Context, path string, v url.Values, out any) (answer, error) {
	a, err := c.do(ctx, http.MethodPost, path, []byte(v.Encode()),
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	if err != nil || out == nil || a.status >= 300 {
		return a, err
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return a, fmt.Errorf("%s: %w", a, err)
	}
	return a, nil
}

func (c caller) do(ctx context.Context, method, path string, body []byte, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	begun := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	a := answer{method: method, path: path, status: resp.StatusCode, header: resp.Header, body: data, took: time.Since(begun)}
	if c.saw != nil {
		c.saw(a)
	}
	return a, nil
}

// search returns all pages of a search: the matches, in order.
func (c caller) search(ctx context.Context, typ string, q url.Values) ([]*fhir.Resource, error) {
	var found []*fhir.Resource
	err := c.pages(ctx, "/fhir/"+typ+"?"+q.Encode(), func(_ answer, matches []*fhir.Resource) error {
		found = append(found, matches...)
		return nil
	})
	return found, err
}

// pages follows a search to its last page and shows each: the answer as it came,
// and the matches in it.
func (c caller) pages(ctx context.Context, path string, show func(answer, []*fhir.Resource) error) error {
	for path != "" {
		a, err := c.get(ctx, path)
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return a.unexpected("200")
		}
		r, err := fhir.Parse(a.body, fhir.Limits{Bytes: 64 << 20})
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		b, err := fhir.ParseBundle(r, pageLimit)
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		matches := lo.FilterMap(b.Entries, func(e fhir.BundleEntry, _ int) (*fhir.Resource, bool) {
			return e.Resource, e.SearchMode == "match"
		})
		if err := show(a, matches); err != nil {
			return err
		}
		next, more := lo.Find(b.Links, func(l fhir.Link) bool { return l.Relation == "next" })
		if !more {
			return nil
		}
		rest, here := strings.CutPrefix(next.URL, c.base+"/")
		if !here {
			return fmt.Errorf("%s: the next page is said to be at %s", a, next.URL)
		}
		path = "/" + rest
	}
	return nil
}

const pageLimit = 5000 // entries in one page of an answer

func fhirJSON() http.Header { return http.Header{"Content-Type": {"application/fhir+json"}} }
