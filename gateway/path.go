package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkTarget refuses a request target that two readers could take for two
// different things: encoded or doubled slashes, dot segments, path parameters,
// control bytes, escapes of any kind. Nothing this server serves needs an escape
// in its path, so none is allowed, and what routing sees is byte for byte what
// was sent. It looks at the target as it stood in the request line, before
// net/http has read anything into it.
func checkTarget(target string) error {
	path, query, _ := strings.Cut(target, "?")
	if path == "" || path[0] != '/' {
		return badRequest("the request target is not a path") // absolute and asterisk form, RFC 9112 §3.2
	}
	if path != "/" {
		for segment := range strings.SplitSeq(path[1:], "/") {
			switch {
			case segment == "":
				return badRequest("the path has an empty segment")
			case segment == "." || segment == "..":
				return badRequest("the path has a dot segment")
			case strings.ContainsFunc(segment, notInPath):
				return badRequest("the path has a character that no address here has")
			}
		}
	}
	if strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' || r == ';' }) {
		return badRequest("the query has a character that must be escaped")
	}
	return nil
}

// baseWithSlash takes a batch that is sent to the base with a slash behind it, as
// a client that joins base and nothing sends it, for one sent to the base.
func baseWithSlash(r *http.Request) {
	if rest, ok := strings.CutPrefix(r.RequestURI, "/fhir/"); ok && r.Method == http.MethodPost && (rest == "" || rest[0] == '?') {
		r.RequestURI, r.URL.Path, r.URL.RawPath = "/fhir"+rest, "/fhir", ""
	}
}

// notInPath is true of every character outside RFC 3986's unreserved set, the
// dollar of FHIR operations, and the separators of C2SP tile paths, all of which
// are among those.
func notInPath(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._~$", r)
}

// parseQuery reads a query or a form, all of it or nothing: net/url drops the
// pairs it cannot read when asked through URL.Query, and what is dropped here
// could be read elsewhere (CVE-2026-39825 is that mistake in a proxy).
func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the parameters cannot be read")
	}
	for name, all := range values {
		for _, s := range append([]string{name}, all...) {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return nil, badRequest("the parameters hold a control character, or are not UTF-8")
			}
		}
	}
	return values, nil
}

// only refuses every parameter that is not among the allowed ones: a parameter
// ignored is a filter its sender believes in.
func only(values url.Values, allowed ...string) error {
	for name := range values {
		if !slices.Contains(allowed, name) {
			return unknownParameter(name)
		}
	}
	return nil
}

// one returns the header's value, refusing a header that is there twice: first
// and last reader would differ.
func one(h http.Header, name string) (string, error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	default:
		return "", badRequest("the header " + name + " is there more than once")
	}
}
