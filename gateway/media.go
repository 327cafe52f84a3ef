package gateway

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// One format, one parser: JSON. Two parsers of one body are two opinions on
// what it says, so XML, Turtle and NDJSON are refused rather than translated.
const (
	mediaFHIR = "application/fhir+json"
	mediaJSON = "application/json"
	mediaForm = "application/x-www-form-urlencoded"
)

// acceptable answers whether the caller takes JSON. _format decides over Accept
// (FHIR R4 §3.1.0.1.11); no word on it is consent.
func acceptable(h http.Header, query url.Values) bool {
	if format, stated := query["_format"]; stated {
		return !slices.ContainsFunc(format, func(f string) bool {
			// A plus sign left bare in a query reads as a space; everybody does it.
			f = strings.ReplaceAll(f, " ", "+")
			return f != "json" && !jsonType(f)
		})
	}
	accept := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return true
	}
	for r := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(r))
		if err != nil || refused(params["q"]) {
			continue
		}
		switch kind {
		case "*/*", "application/*":
			return true
		}
		if jsonType(r) {
			return true
		}
	}
	return false
}

// refused is true of a quality of nought, in any of its spellings (RFC 9110
// §12.4.2), and of what is no quality at all.
func refused(q string) bool {
	if q == "" {
		return false
	}
	v, err := strconv.ParseFloat(q, 64)
	return err != nil || !(v > 0 && v <= 1)
}

// jsonType is true of the two media types for FHIR's JSON, in UTF-8 and in R4.
func jsonType(value string) bool {
	kind, params, err := mime.ParseMediaType(strings.TrimSpace(value))
	if err != nil || (kind != mediaFHIR && kind != mediaJSON) {
		return false
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	version, ok := params["fhirversion"]
	return !ok || version == "4.0"
}

// formType is true of the media type of a form.
func formType(value string) bool {
	kind, _, err := mime.ParseMediaType(strings.TrimSpace(value))
	return err == nil && kind == mediaForm
}
