package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/fhir"
)

func TestParseRefusesWhatTwoParsersReadDifferently(t *testing.T) {
	for name, tc := range map[string]struct {
		in, path, reason string
	}{
		"nothing":                      {``, "", "not a JSON object"},
		"only space":                   {" \n", "", "not a JSON object"},
		"an array":                     {`[{"resourceType":"Patient"}]`, "", "not a JSON object"},
		"a string":                     {`"Patient"`, "", "not a JSON object"},
		"null":                         {`null`, "", "not a JSON object"},
		"byte order mark":              {"\xef\xbb\xbf" + `{"resourceType":"Patient"}`, "", "byte order mark"},
		"UTF-16":                       {"\xff\xfe{\x00", "", "not a JSON object"},
		"two documents":                {`{"resourceType":"Patient"}{"resourceType":"Patient"}`, "", "data after"},
		"NUL after the document":       {"{\"resourceType\":\"Patient\"}\x00", "", "data after"},
		"NUL as a value":               {"{\"resourceType\":\x00\"Patient\"}", "resourceType", "NUL"},
		"NUL in a string":              {"{\"resourceType\":\"Patient\",\"id\":\"a\x00\"}", "id", "control character"},
		"escaped NUL":                  {`{"resourceType":"Patient","language":"a\u0000b"}`, "language", "control character"},
		"escaped bell":                 {`{"resourceType":"Patient","language":"a\u0007b"}`, "language", "control character"},
		"backspace":                    {`{"resourceType":"Patient","language":"a\b"}`, "language", "control character"},
		"newline in a string":          {"{\"resourceType\":\"Patient\",\"language\":\"a\nb\"}", "language", "control character"},
		"invalid UTF-8":                {"{\"resourceType\":\"Patient\",\"language\":\"\xff\"}", "language", "invalid UTF-8"},
		"overlong UTF-8":               {"{\"resourceType\":\"Patient\",\"language\":\"\xc0\xaf\"}", "language", "invalid UTF-8"},
		"surrogate in UTF-8":           {"{\"resourceType\":\"Patient\",\"language\":\"\xed\xa0\x80\"}", "language", "invalid UTF-8"},
		"lone high surrogate":          {`{"resourceType":"Patient","language":"\ud800"}`, "language", "lone surrogate"},
		"lone low surrogate":           {`{"resourceType":"Patient","language":"\udc00x"}`, "language", "lone surrogate"},
		"two high surrogates":          {`{"resourceType":"Patient","language":"\ud800\ud800"}`, "language", "lone surrogate"},
		"duplicate element":            {`{"resourceType":"Observation","subject":{"reference":"Patient/a"},"subject":{"reference":"Patient/b"}}`, "subject", "duplicate"},
		"duplicate in an escape":       {`{"resourceType":"Patient","id":"a","\u0069d":"b"}`, "id", "duplicate"},
		"duplicate but for case":       {`{"resourceType":"Observation","valueString":"a","valuestring":"b"}`, "valuestring", "duplicate"},
		"duplicate deep down":          {`{"resourceType":"Observation","code":{"coding":[{},{"code":"a","code":"a"}]}}`, "code.coding[1].code", "duplicate"},
		"duplicate resourceType":       {`{"resourceType":"Patient","resourceType":"Patient"}`, "resourceType", "duplicate"},
		"upper-case name":              {`{"resourceType":"Patient","Subject":{}}`, "", "no FHIR element"},
		"name with a dash":             {`{"resourceType":"Patient","a-b":1}`, "", "no FHIR element"},
		"empty name":                   {`{"resourceType":"Patient","":1}`, "", "no FHIR element"},
		"look-alike name":              {`{"resourceType":"Patient","ѕubject":{}}`, "", "no FHIR element"},
		"null element":                 {`{"resourceType":"Observation","subject":null}`, "subject", "null"},
		"resourceType missing":         {`{"id":"a"}`, "resourceType", "missing"},
		"resourceType in another case": {`{"resourcetype":"Patient"}`, "resourceType", "missing"},
		"resourceType a number":        {`{"resourceType":1}`, "resourceType", "resource type"},
		"resourceType a path":          {`{"resourceType":"../Patient"}`, "resourceType", "resource type"},
		"resourceType in lower case":   {`{"resourceType":"patient"}`, "resourceType", "resource type"},
		"id a number":                  {`{"resourceType":"Patient","id":1}`, "id", "id"},
		"id with a slash":              {`{"resourceType":"Patient","id":"a/b"}`, "id", "id"},
		"id of dots":                   {`{"resourceType":"Patient","id":".."}`, "id", "id"},
		"full-width slash in id":       {`{"resourceType":"Patient","id":"a／b"}`, "id", "id"},
		"meta a string":                {`{"resourceType":"Patient","meta":"x"}`, "meta", "FHIR"},
		"labels not in a list":         {`{"resourceType":"Patient","meta":{"security":{"code":"R"}}}`, "meta.security", "FHIR"},
		"label a string":               {`{"resourceType":"Patient","meta":{"security":["R"]}}`, "meta.security", "FHIR"},
		"label with a strange code":    {`{"resourceType":"Patient","meta":{"security":[{"code":1}]}}`, "meta.security", "FHIR"},
		"lastUpdated a date":           {`{"resourceType":"Patient","meta":{"lastUpdated":"2020-01-01"}}`, "meta.lastUpdated", "FHIR"},
		"trailing comma":               {`{"resourceType":"Patient",}`, "", "name is missing"},
		"trailing comma in an array":   {`{"resourceType":"Patient","name":[1,]}`, "name[1]", "not a JSON value"},
		"comment":                      {`{"resourceType":"Patient"/*x*/}`, "", "comma"},
		"single quotes":                {`{'resourceType':'Patient'}`, "", "name is missing"},
		"unfinished":                   {`{"resourceType":"Patient"`, "", "ends too early"},
		"unfinished string":            {`{"resourceType":"Pat`, "resourceType", "ends within"},
		"unfinished escape":            {`{"resourceType":"Pat\`, "resourceType", "ends within"},
		"unknown escape":               {`{"resourceType":"Pat\x"}`, "resourceType", "escape"},
		"wrong literal":                {`{"resourceType":"Patient","active":tru}`, "active", "not a JSON value"},
		"NaN":                          {`{"resourceType":"Patient","x":NaN}`, "x", "not a JSON value"},
		"Infinity":                     {`{"resourceType":"Patient","x":-Infinity}`, "x", "malformed number"},
		"leading zero":                 {`{"resourceType":"Patient","x":01}`, "x", "malformed number"},
		"hexadecimal":                  {`{"resourceType":"Patient","x":0x1}`, "", "comma"},
		"leading point":                {`{"resourceType":"Patient","x":.5}`, "x", "not a JSON value"},
		"leading plus":                 {`{"resourceType":"Patient","x":+5}`, "x", "not a JSON value"},
		"trailing point":               {`{"resourceType":"Patient","x":5.}`, "x", "malformed number"},
		"beyond a float64":             {`{"resourceType":"Patient","x":1e400}`, "x", "beyond"},
		"exponent overflow":            {`{"resourceType":"Patient","x":1e99999999999999999999}`, "x", "beyond"},
		"too many digits":              {`{"resourceType":"Patient","x":` + strings.Repeat("1", 65) + `}`, "x", "beyond"},
		"non-breaking space":           {"{\u00a0\"resourceType\":\"Patient\"}", "", "name is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := fhir.Parse([]byte(tc.in), fhir.Limits{})
			e, ok := errors.AsType[*fhir.SyntaxError](err)
			if !ok {
				t.Fatalf("Parse() = %v, %v, want a SyntaxError", r, err)
			}
			if e.Path != tc.path || !strings.Contains(e.Reason, tc.reason) {
				t.Errorf("Parse() = %q at %q, want %q at %q", e.Reason, e.Path, tc.reason, tc.path)
			}
		})
	}
}

func TestParseKeepsToItsLimits(t *testing.T) {
	deep := func(n int) []byte { // n levels, the resource included
		return []byte(`{"resourceType":"Basic","x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`)
	}
	for name, tc := range map[string]struct {
		in     []byte
		limits fhir.Limits
		ok     bool
	}{
		"64 levels":                 {deep(64), fhir.Limits{}, true},
		"65 levels":                 {deep(65), fhir.Limits{}, false},
		"a million levels":          {deep(1e6), fhir.Limits{Bytes: 1 << 30, Depth: 1 << 30}, false},
		"3 levels of 3":             {deep(3), fhir.Limits{Depth: 3}, true},
		"4 levels of 3":             {deep(4), fhir.Limits{Depth: 3}, false},
		"as many bytes as allowed":  {deep(2), fhir.Limits{Bytes: len(deep(2))}, true},
		"one byte more":             {deep(2), fhir.Limits{Bytes: len(deep(2)) - 1}, false},
		"10 MiB by default":         {padded(10 << 20), fhir.Limits{}, true},
		"one more than by default":  {padded(10<<20 + 1), fhir.Limits{}, false},
		"100,000 elements":          {wide(100_000, ""), fhir.Limits{}, true},
		"100,000 and one once more": {wide(100_000, `,"a99999":1`), fhir.Limits{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := fhir.Parse(tc.in, tc.limits); (err == nil) != tc.ok {
				t.Errorf("Parse() = %v, want ok %v", err, tc.ok)
			}
		})
	}
}

func padded(n int) []byte {
	const head = `{"resourceType":"Basic"`
	return []byte(head + strings.Repeat(" ", n-len(head)-1) + "}")
}

// wide is an object of many elements, which must not cost the square of their number.
func wide(n int, more string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Basic"`)
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":1`, i)
	}
	b.WriteString(more + "}")
	return b.Bytes()
}

func TestParseWritesOneFormOfJSON(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"space goes":            {" {\t\"resourceType\" :\r\n\"Patient\" , \"active\": true } \n", `{"resourceType":"Patient","active":true}`},
		"order stays":           {`{"id":"b","resourceType":"Patient","active":false}`, `{"id":"b","resourceType":"Patient","active":false}`},
		"numbers keep digits":   {`{"resourceType":"Basic","x":[1.50,1.5,-0,0.0,1E+2,1e-2,123456789012345678901234567890.10]}`, `{"resourceType":"Basic","x":[1.50,1.5,-0,0.0,1E+2,1e-2,123456789012345678901234567890.10]}`},
		"needless escapes go":   {`{"resourceType":"Basic","x":"\u0041\/\u00e9\ud83d\ude00\u2028"}`, `{"resourceType":"Basic","x":"A/é😀` + "\u2028" + `"}`},
		"necessary escapes":     {`{"resourceType":"Basic","x":"\"\\\t\n\r\u0022\u005c\u0009"}`, `{"resourceType":"Basic","x":"\"\\\t\n\r\"\\\t"}`},
		"escaped name":          {`{"resourc\u0065Type":"Basic"}`, `{"resourceType":"Basic"}`},
		"nulls among primitves": {`{"resourceType":"Patient","x":[null,"a"],"_x":[{"id":"a"},null]}`, `{"resourceType":"Patient","x":[null,"a"],"_x":[{"id":"a"},null]}`},
		"empty things":          {`{"resourceType":"Patient","a":[ ],"b":{ },"c":""}`, `{"resourceType":"Patient","a":[],"b":{},"c":""}`},
		"html":                  {`{"resourceType":"Basic","x":"<b>&amp;</b>"}`, `{"resourceType":"Basic","x":"<b>&amp;</b>"}`},
		"a mark in a string":    {`{"resourceType":"Basic","x":"\ufeff"}`, "{\"resourceType\":\"Basic\",\"x\":\"\ufeff\"}"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := fhir.Parse([]byte(tc.in), fhir.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if string(r.JSON()) != tc.want {
				t.Errorf("JSON() = %s\nwant     %s", r.JSON(), tc.want)
			}
		})
	}
}

func TestParseDoesNotKeepItsInput(t *testing.T) {
	in := []byte(`{"resourceType":"Patient","id":"a"}`)
	r := parse(t, string(in))
	clear(in)
	if got := string(r.JSON()); got != `{"resourceType":"Patient","id":"a"}` {
		t.Errorf("JSON() = %s", got)
	}
}

func TestErrorsRepeatNoContent(t *testing.T) {
	const secret = "Schuppe920"
	for _, in := range []string{
		`{"resourceType":"Patient","id":"` + secret + ` "}`,
		`{"resourceType":"` + secret + `!"}`,
		`{"resourceType":"Patient","name":[{"family":"` + secret + `\x"}]}`,
		`{"resourceType":"Patient","` + secret + `":1}`,
	} {
		if _, err := fhir.Parse([]byte(in), fhir.Limits{}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Parse(%s) = %v", in, err)
		}
	}
}

func parse(t testing.TB, in string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(in), fhir.Limits{})
	if err != nil {
		t.Fatalf("Parse(%s): %v", in, err)
	}
	return r
}

// FuzzParse: what is accepted is JSON as the standard library reads it too, parsing
// our own rendering changes nothing, and the canonical form is a fixed point.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"resourceType":"Patient","id":"a","meta":{"security":[{"system":"s","code":"R"}]},"name":[{"family":"É","given":["a\tb",null]}]}`,
		`{"resourceType":"Observation","valueQuantity":{"value":1.50e-3},"_status":{"extension":[]},"z":{},"a":[[],[[1]]]}`,
		`{"resourceType":"Patient","x":"\ud83d\ude00\\\"\/"}`,
		"{\"resourceType\":\"Patient\",\"x\":\"\u2028\x7f\"}",
		`{"resourceType":"Patient","id":1}`,
		`{"a":1,"a":2}`, `{`, `[]`, "\xef\xbb\xbf{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := fhir.Parse(in, fhir.Limits{Bytes: 1 << 16})
		if err != nil {
			if _, ok := errors.AsType[*fhir.SyntaxError](err); !ok {
				t.Fatalf("an error that is no SyntaxError: %v", err)
			}
			return
		}
		again, err := fhir.Parse(r.JSON(), fhir.Limits{})
		if err != nil || !bytes.Equal(again.JSON(), r.JSON()) {
			t.Fatalf("Parse(JSON) = %v, %v\nof %s", again, err, r.JSON())
		}
		canonical, err := fhir.Parse(r.Canonical(), fhir.Limits{})
		if err != nil || !bytes.Equal(canonical.Canonical(), r.Canonical()) {
			t.Fatalf("Canonical is not stable: %v\nof %s", err, r.Canonical())
		}
		built, err := fhir.New(r.Tree())
		if err != nil || !bytes.Equal(built.Canonical(), r.Canonical()) {
			t.Fatalf("New(Tree) = %v, %v\nof %s", built, err, r.JSON())
		}
		decoder := json.NewDecoder(bytes.NewReader(in))
		decoder.UseNumber()
		var theirs map[string]any
		if err := decoder.Decode(&theirs); err != nil {
			t.Fatalf("encoding/json refuses what Parse accepts: %v\n%s", err, in)
		}
		ours, _ := json.Marshal(r.Tree())
		want, _ := json.Marshal(theirs)
		if !bytes.Equal(ours, want) {
			t.Fatalf("read %s\nwant %s", ours, want)
		}
	})
}
