package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

const (
	fhirJSON = "application/fhir+json"
	formBody = "application/x-www-form-urlencoded"
)

// call is one request to be sent.
type call struct {
	method  string
	path    []string // below the base, unescaped
	query   url.Values
	url     *url.URL // instead of path and query: a page link, already checked
	header  map[string]string
	content string // media type of body
	body    []byte
	safe    bool // changes nothing, though its method may
}

// answer is a successful answer, read to its end.
type answer struct {
	status   int
	header   http.Header
	resource *fhir.Resource // nil if there was no body
}

// send carries out one exchange. The error is one of this package's.
func (c *Client) send(ctx context.Context, call call) (*answer, error) {
	request, err := c.request(ctx, call)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	defer response.Body.Close()

	body, err := io.ReadAll(io.LimitReader(response.Body, int64(c.limits.Bytes)+1))
	switch {
	case err != nil:
		return nil, transportError(ctx, err)
	case len(body) > c.limits.Bytes:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrAnswer, c.limits.Bytes)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		// A refusal is a refusal, whether or not its body can be read.
		outcome, err := c.parse(response.Header, body)
		if err != nil || outcome == nil || outcome.Type() != "OperationOutcome" {
			outcome = nil
		}
		return nil, statusError(response.StatusCode, outcome)
	}
	resource, err := c.parse(response.Header, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return &answer{status: response.StatusCode, header: response.Header, resource: resource}, nil
}

func (c *Client) request(ctx context.Context, call call) (*http.Request, error) {
	target := call.url
	if target == nil {
		target = c.base.JoinPath(escape(call.path)...)
		target.RawQuery = call.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target.String(), bytes.NewReader(call.body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// Some servers prefer XML unless told.
	request.Header.Set("Accept", fhirJSON)
	if call.content != "" {
		request.Header.Set("Content-Type", call.content)
	}
	for name, value := range call.header {
		request.Header.Set(name, value)
	}
	if call.safe {
		// net/http takes a present but empty key as leave to send the request again over
		// a new connection when a kept one turns out to be closed, and does not send it.
		request.Header["Idempotency-Key"] = []string{}
	}
	return request, nil
}

// escape keeps each element one path segment: version ids are the server's own text.
func escape(path []string) []string {
	escaped := make([]string, len(path))
	for i, segment := range path {
		escaped[i] = url.PathEscape(segment)
	}
	return escaped
}

// parse reads a body strictly; no body is nil.
func (c *Client) parse(header http.Header, body []byte) (*fhir.Resource, error) {
	if len(body) == 0 {
		return nil, nil
	}
	media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return nil, errors.New("no content type")
	}
	if media != fhirJSON && media != "application/json" && media != "application/json+fhir" {
		return nil, errors.New("neither FHIR JSON nor JSON")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, errors.New("not in UTF-8")
	}
	return fhir.Parse(body, c.limits)
}

// want checks that the answer is what was asked for: a store that mixes up two
// records must not go unnoticed. An id of "" is not compared.
func (a *answer) want(typ, id string) error {
	switch {
	case a.resource == nil:
		return fmt.Errorf("%w: no resource", ErrAnswer)
	case a.resource.Type() != typ:
		return fmt.Errorf("%w: not a %s", ErrAnswer, typ)
	case id != "" && a.resource.ID() != id:
		return fmt.Errorf("%w: not the %s asked for", ErrAnswer, typ)
	}
	return nil
}

// version makes a Version of the answer's resource and headers.
func (a *answer) version() (Version, error) {
	v := Version{Resource: a.resource, VersionID: etag(a.header.Get("ETag")), LastUpdated: httpTime(a.header.Get("Last-Modified"))}
	if a.resource != nil {
		v = merge(v, a.resource.Meta())
	}
	if v.VersionID == "" {
		v.VersionID = locationOf(a.header).version
	}
	if v.VersionID == "" {
		return Version{}, fmt.Errorf("%w: without a version", ErrAnswer)
	}
	return v, nil
}

// merge fills v from a resource's meta. The entity tag is what If-Match will be
// compared with, so it wins; meta has the finer clock.
func merge(v Version, meta fhir.Meta) Version {
	if v.VersionID == "" {
		v.VersionID = meta.VersionID
	}
	if !meta.LastUpdated.IsZero() {
		v.LastUpdated = meta.LastUpdated
	}
	return v
}

// etag takes the version id out of W/"7" or "7"; "" if it is neither.
func etag(s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' || strings.Contains(s[1:len(s)-1], `"`) {
		return ""
	}
	return s[1 : len(s)-1]
}

// ifMatch renders a version id as FHIR wants it (R4 §3.1.0.5: a weak entity tag).
func ifMatch(version string) string { return `W/"` + version + `"` }

func httpTime(s string) time.Time {
	t, err := http.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// location is what [base]/Type/id/_history/version names.
type location struct{ typ, id, version string }

// locationOf reads Location or Content-Location, wherever its base may be: only the
// last segments are used, and no request is ever made to it.
func locationOf(header http.Header) location {
	text := header.Get("Location")
	if text == "" {
		text = header.Get("Content-Location")
	}
	u, err := url.Parse(text)
	if err != nil {
		return location{}
	}
	segments := strings.Split(strings.Trim(u.Path, "/"), "/")
	var l location
	if n := len(segments); n >= 4 && segments[n-2] == "_history" {
		l.version = segments[n-1]
		segments = segments[:n-2]
	}
	if n := len(segments); n >= 2 && fhir.KnownType(segments[n-2]) && fhir.ValidID(segments[n-1]) {
		l.typ, l.id = segments[n-2], segments[n-1]
	}
	return l
}
