package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A Verdict is what became of one step of the story, one line of JSON each.
type Verdict struct {
	Step   string `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was seen, in a sentence
	MS     int64  `json:"ms"`     // how long the step took
}

// A step plays one part of the story and says what it saw. It returns an error
// when what it saw is not what Wardkey promises: a verdict is computed, never
// assumed.
type step struct {
	name string
	play func(context.Context) (detail string, err error)
}

// play plays the steps in order and tells each verdict as it falls. The steps
// lean on each other (nothing can be read that was not sealed), so that after a
// failed one the rest are not played, and say so. When ctx ends, nobody is told
// any more: a step that was broken off shows nothing.
func play(ctx context.Context, steps []step, tell func(Verdict)) (ok bool) {
	failed := ""
	for _, s := range steps {
		if failed != "" {
			tell(Verdict{Step: s.name, Detail: "not played, for " + failed + " failed"})
			continue
		}
		begun := time.Now()
		detail, err := s.play(ctx)
		if ctx.Err() != nil {
			return false
		}
		v := Verdict{Step: s.name, OK: err == nil, Detail: detail, MS: time.Since(begun).Milliseconds()}
		if err != nil {
			v.Detail, failed = err.Error(), s.name
		}
		tell(v)
	}
	return failed == ""
}

// say writes something for people. Who does not listen misses it.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// teller returns where verdicts go: JSON, one a line, or lines for people.
func teller(w io.Writer, asJSON bool) func(Verdict) {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(v Verdict) { _ = enc.Encode(v) } // a reader that has gone misses the rest
	}
	return func(v Verdict) {
		mark := "ok    "
		if !v.OK {
			mark = "FAILED"
		}
		say(w, "%s %-16s %6.1fs  %s\n", mark, v.Step, float64(v.MS)/1000, v.Detail)
	}
}
