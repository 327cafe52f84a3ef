package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// Info says whose log this is: what an auditor pins, and what the genesis entry
// binds. The file log.json is its canonical encoding.
type Info struct {
	Origin    string   `json:"origin"`    // first line of every checkpoint
	Key       string   `json:"key"`       // the log's verifier key (signed-note vkey)
	Cosigners []string `json:"cosigners"` // the custodians' verifier keys (type 0x04)
}

// IsZero reports whether there is no description yet.
func (i Info) IsZero() bool { return i.Origin == "" && i.Key == "" && len(i.Cosigners) == 0 }

// Encode returns the canonical encoding: JSON in the order of the fields,
// without blanks, with one newline at the end.
func (i Info) Encode() []byte {
	if i.Cosigners == nil {
		i.Cosigners = []string{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // a vkey has a plus, which is no markup
	if err := enc.Encode(i); err != nil {
		panic(err) // strings only
	}
	return out.Bytes()
}

// Equal reports whether both say the same.
func (i Info) Equal(o Info) bool { return bytes.Equal(i.Encode(), o.Encode()) }

// ParseInfo is the inverse of [Info.Encode]; it accepts nothing else, and
// checks that the keys are keys.
func ParseInfo(data []byte) (Info, error) {
	if len(data) > 1<<20 {
		return Info{}, errors.New("log description too long")
	}
	var i Info
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&i); err != nil {
		return Info{}, fmt.Errorf("log description: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || !bytes.Equal(i.Encode(), data) {
		return Info{}, errors.New("log description is not canonical")
	}
	if err := i.Validate(); err != nil {
		return Info{}, err
	}
	return i, nil
}

// Validate reports what is wrong with a description.
func (i Info) Validate() error {
	if !validOrigin(i.Origin) {
		return fmt.Errorf("log description: origin %q", i.Origin)
	}
	if _, err := i.Verifier(); err != nil {
		return err
	}
	_, err := i.CosignVerifiers()
	return err
}

// Verifier checks the log's own signatures.
func (i Info) Verifier() (note.Verifier, error) {
	v, err := note.NewVerifier(i.Key)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return v, nil
}

// CosignVerifiers check the custodians' cosignatures.
func (i Info) CosignVerifiers() ([]note.Verifier, error) {
	out := make([]note.Verifier, 0, len(i.Cosigners))
	for _, key := range i.Cosigners {
		v, err := NewCosignVerifier(key)
		if err != nil {
			return nil, err
		}
		for _, w := range out {
			if w.Name() == v.Name() && w.KeyHash() == v.KeyHash() {
				return nil, fmt.Errorf("cosigner %s is listed twice", v.Name())
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// tlog-checkpoint: the origin is one line, unique to the log.
func validOrigin(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || r == '+' || r == unicode.ReplacementChar
	})
}
