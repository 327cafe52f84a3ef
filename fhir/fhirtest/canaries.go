package fhirtest

import (
	"encoding/base64"
	"index/suffixarray"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/wardkey/wardkey/fhir"
)

// inClear are the types that a store keeps readable.
var inClear = []string{"Practitioner", "PractitionerRole", "Organization", "Location", "Medication"}

// Canaries returns what betrays a person in the resources: names, identifiers, telephone numbers and
// addresses, sentences of narratives and notes, lines of attachments. Each is at
// least eight characters long, so that chance does not write it into ciphertext, occurs in no Practitioner, PractitionerRole, Organization,
// Location or Medication, and in no id or reference of rs, so a store that can be found to hold one of them
// holds it because something was not sealed. Sorted.
func Canaries(rs []*fhir.Resource) []string {
	var clear strings.Builder
	found := map[string]struct{}{}
	for _, r := range slices.Concat(synthea(), rs) {
		if slices.Contains(inClear, r.Type()) {
			clear.Write(r.JSON())
		}
	}
	for _, r := range rs {
		clear.WriteString(r.Ref().String() + "\n")
		for s := range r.References() {
			clear.WriteString(s + "\n")
		}
		if !slices.Contains(inClear, r.Type()) {
			collect(r.Tree(), found)
		}
	}
	readable := suffixarray.New([]byte(clear.String()))
	maps.DeleteFunc(found, func(s string, _ struct{}) bool { return readable.Lookup([]byte(s), 1) != nil })
	return slices.Sorted(maps.Keys(found))
}

// collect adds what is telling in a tree.
func collect(tree map[string]any, found map[string]struct{}) {
	for name, value := range tree {
		for _, v := range list(value) {
			switch v := v.(type) {
			case string:
				collectText(name, v, found)
			case map[string]any:
				if name == "identifier" || name == "telecom" {
					add(found, word, v["value"])
				}
				if name == "note" {
					add(found, word, v["text"])
				}
				if ref, _ := v["reference"].(string); strings.HasPrefix(ref, "Patient/") {
					add(found, word, v["display"])
				}
				collect(v, found)
			}
		}
	}
}

func collectText(name, s string, found map[string]struct{}) {
	switch name {
	case "family", "given", "line":
		add(found, word, s)
	case "div":
		for part := range strings.FieldsFuncSeq(tags().ReplaceAllString(s, "\n"), newline) {
			add(found, sentence, part)
		}
	case "data":
		decoded, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return
		}
		for part := range strings.FieldsFuncSeq(string(decoded), newline) {
			add(found, sentence, part)
		}
	}
}

const (
	// word is how long a name or number must be: a shorter one turns up in a few
	// megabytes of base64 by itself.
	word = 8
	// sentence is how long running text must be to be told from what stands in every file.
	sentence = 32
)

// add takes a text that every encoding on the way writes the same.
func add(found map[string]struct{}, atLeast int, value any) {
	s, _ := value.(string)
	s = strings.TrimSpace(s)
	if len(s) >= atLeast && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || strings.ContainsRune(`"\<>&'`, r) }) {
		found[s] = struct{}{}
	}
}

func newline(r rune) bool { return r == '\n' || r == '\r' }

func tags() *regexp.Regexp { return regexp.MustCompile(`<[^>]*>`) }

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}
