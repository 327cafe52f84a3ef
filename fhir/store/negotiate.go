package store

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/samber/lo"
)

const (
	fhirJSON = "application/fhir+json"
	formBody = "application/x-www-form-urlencoded"
)

// acceptable refuses clients that want something other than R4 in JSON. _format wins
// over Accept (R4 §3.1.0.1.11).
func acceptable(r *http.Request) error {
	if formats := r.URL.Query()["_format"]; len(formats) > 0 {
		// A plus sign that was not escaped arrives as a space.
		if lo.EveryBy(formats, func(f string) bool { return f == "json" || isJSON(strings.ReplaceAll(f, " ", "+")) }) {
			return nil
		}
		return notAcceptable()
	}
	accept := r.Header.Values("Accept")
	if len(accept) == 0 {
		return nil
	}
	for _, offer := range strings.Split(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(offer)
		if err != nil || params["q"] == "0" || !isVersion(params) {
			continue
		}
		if media == "*/*" || media == "application/*" || isJSON(media) {
			return nil
		}
	}
	return notAcceptable()
}

func notAcceptable() *problem {
	return &problem{status: http.StatusNotAcceptable, code: "not-supported", text: "only FHIR R4 in JSON is spoken here"}
}

func isJSON(media string) bool {
	base, _, _ := strings.Cut(media, ";")
	switch strings.TrimSpace(base) {
	case fhirJSON, "application/json", "text/json", "application/json+fhir":
		return true
	}
	return false
}

// isVersion refuses media types that say another version of FHIR (R4 §2.6.4).
func isVersion(params map[string]string) bool {
	v := params["fhirversion"]
	return v == "" || v == "4.0" || v == "4.0.1"
}

// readBody reads the request's body, if it may have one, and checks what it says it is.
func (s *Store) readBody(w http.ResponseWriter, r *request) error {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil
	}
	limit, form := s.config.Resource.Bytes, strings.HasSuffix(r.URL.Path, "/_search")
	if form {
		limit = longestQuery
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return &problem{status: http.StatusUnsupportedMediaType, code: "not-supported", text: "compressed bodies are not supported"}
	}
	if err := checkMedia(r.Header.Get("Content-Type"), form); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return &problem{status: http.StatusRequestEntityTooLarge, code: "too-long", text: "the body is too large"}
	}
	if err != nil {
		return &problem{status: http.StatusBadRequest, code: "incomplete", text: "the body ended early", cause: err}
	}
	if !form {
		r.body = body
		return nil
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return &problem{status: http.StatusBadRequest, code: "invalid", text: "a malformed form"}
	}
	values.Del("_format")
	for name, more := range values { // R4 §3.1.1.1: parameters may be in both places
		r.query[name] = append(r.query[name], more...)
	}
	return nil
}

func checkMedia(contentType string, form bool) error {
	media, params, err := mime.ParseMediaType(contentType)
	charset := strings.ToLower(params["charset"])
	switch {
	case err == nil && form && media == formBody:
	case err == nil && !form && isJSON(media) && isVersion(params) && (charset == "" || charset == "utf-8"):
	case form && contentType == "":
		// A search without parameters may come without a body.
	default:
		want := fhirJSON
		if form {
			want = formBody
		}
		return &problem{status: http.StatusUnsupportedMediaType, code: "not-supported", text: "the content type has to be " + want}
	}
	return nil
}

// minimal, outcome: what the client would rather have back of a write (R4 §3.1.0.1.7).
func preference(r *request) string {
	for _, value := range r.Header.Values("Prefer") {
		for _, item := range strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ';' }) {
			if want, ok := strings.CutPrefix(strings.TrimSpace(item), "return="); ok {
				return want
			}
		}
	}
	return "representation"
}
