package store

import (
	"cmp"
	"hash/fnv"
	"io"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// The index may offer too much, since fhir.Match has the last word, but it must never
// leave out what Match would take. So hashes may collide, strings may be cut, and a
// parameter with too much to say is indexed by saying just that.
const (
	mostEntries = 200 // of one parameter of one resource
	longestWord = 64  // bytes of a string's beginning
)

// What a hash stands for, beside the type and the parameter.
const (
	byCode    = "code"      // and a code, whatever its system
	byCoding  = "coding"    // and a system and a code
	byRef     = "reference" // and a type and an id
	byRefID   = "id"        // and an id
	byURL     = "url"       // and a URL
	byWord    = "word"      // word has the beginning of a string
	byPeriod  = "period"    // low and high have a period
	byTooMany = "any"       // the resource has to be looked at
)

// entry is one row of the index.
type entry struct {
	_         struct{} `cbor:",toarray"`
	Hash      int64
	Word      string
	Low, High int64
}

// index makes a resource's rows, sorted and distinct. A parameter that cannot be
// evaluated gets the row that makes every search look at the resource.
func index(r *fhir.Resource) []entry {
	var all []entry
	for _, p := range fhir.Params(r.Type()) {
		if isColumn(p.Name) {
			continue
		}
		h := hasher{r.Type(), p.Name}
		values, err := p.Values(r)
		entries := lo.FlatMap(values, func(v fhir.Value, _ int) []entry { return h.entries(v) })
		if err != nil || len(entries) > mostEntries {
			entries = []entry{{Hash: h.of(byTooMany)}}
		}
		all = append(all, entries...)
	}
	slices.SortFunc(all, entry.compare)
	return slices.Compact(all)
}

// isColumn tells the parameters that are columns of the table of resources.
func isColumn(param string) bool { return param == "_id" || param == "_lastUpdated" }

func (e entry) compare(f entry) int {
	return cmp.Or(cmp.Compare(e.Hash, f.Hash), cmp.Compare(e.Word, f.Word), cmp.Compare(e.Low, f.Low), cmp.Compare(e.High, f.High))
}

// hasher makes the hashes of one parameter of one type.
type hasher struct{ typ, param string }

func (h hasher) of(parts ...string) int64 {
	sum := fnv.New64a()
	for _, part := range append([]string{h.typ, h.param}, parts...) {
		_, _ = io.WriteString(sum, part) // never fails
		_, _ = sum.Write([]byte{0})
	}
	return int64(sum.Sum64())
}

// entries are the rows that one value calls for: one for each way of asking for it.
func (h hasher) entries(v fhir.Value) []entry {
	hashes := func(all ...int64) []entry {
		return lo.Map(all, func(hash int64, _ int) entry { return entry{Hash: hash} })
	}
	switch v.Kind {
	case fhir.TypeToken:
		rows := hashes(h.of(byCoding, v.Coding.System, v.Coding.Code))
		if v.Coding.Code != "" {
			rows = append(rows, entry{Hash: h.of(byCode, v.Coding.Code)})
		}
		if v.Implied && v.Coding.System != "" {
			rows = append(rows, entry{Hash: h.of(byCoding, "", v.Coding.Code)})
		}
		return rows
	case fhir.TypeReference:
		ref := v.Ref
		var rows []entry
		if v.Text != "" {
			rows = hashes(h.of(byURL, v.Text), h.of(byURL, unversioned(v.Text)))
			ref = lastOf(v.Text) // it may be ours after all, by the base of a later search
		}
		if ref.ID != "" {
			rows = append(rows, hashes(h.of(byRef, ref.Type, ref.ID), h.of(byRefID, ref.ID))...)
		}
		return rows
	case fhir.TypeURI:
		return hashes(h.of(byURL, v.Text), h.of(byURL, unversioned(v.Text)))
	case fhir.TypeString:
		return []entry{{Hash: h.of(byWord), Word: beginning(v.Text)}}
	case fhir.TypeDate:
		return []entry{{Hash: h.of(byPeriod), Low: from(v.Period), High: to(v.Period)}}
	default:
		return nil // numbers and quantities are not narrowed
	}
}

// lastOf reads Type/id at the end of an absolute URL.
func lastOf(reference string) fhir.Ref {
	u, err := url.Parse(reference)
	if err != nil {
		return fhir.Ref{}
	}
	path, _, _ := strings.Cut(u.Path, "/_history/")
	segments := strings.Split(path, "/")
	if n := len(segments); n >= 2 && fhir.KnownType(segments[n-2]) && fhir.ValidID(segments[n-1]) {
		return fhir.Ref{Type: segments[n-2], ID: segments[n-1]}
	}
	return fhir.Ref{}
}

func unversioned(canonical string) string {
	bare, _, _ := strings.Cut(canonical, "|")
	return bare
}

// beginning is the part of a string, as search compares it, that the index keeps.
// Cutting through a character does no harm: both sides are cut alike.
func beginning(s string) string {
	folded := fhir.Fold(s)
	return folded[:min(len(folded), longestWord)]
}

// from and to widen a period to whole milliseconds; open ends are the extremes.
func from(p fhir.Period) int64 {
	if p.From.IsZero() {
		return math.MinInt64
	}
	return p.From.UnixMilli() // rounds down
}

func to(p fhir.Period) int64 {
	if p.To.IsZero() {
		return math.MaxInt64
	}
	return p.To.Add(time.Millisecond - time.Nanosecond).UnixMilli()
}

// pack and unpack keep a resource's rows with the resource.
func pack(entries []entry) ([]byte, error) {
	return cbor.Marshal(entries)
}

func unpack(packed []byte) ([]entry, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	var entries []entry
	return entries, cbor.Unmarshal(packed, &entries)
}
