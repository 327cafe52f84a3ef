package index

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/records"
)

// Term is something a resource is found by across patients.
type Term struct{ Kind, Value string }

// Token is what the table has of a term: HMAC-SHA256, cut to 16 bytes.
type Token [16]byte

// Token makes the token of a term's kind and value.
func (k Key) Token(kind, value string) Token {
	mac := hmac.New(sha256.New, k.terms[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(kind))))
	mac.Write([]byte(kind))
	mac.Write([]byte(value))
	return Token(mac.Sum(nil))
}

func (k Key) term(t Term) Token { return k.Token(t.Kind, t.Value) }

// The kinds of terms that there are.
const (
	kindIdentifier = "identifier"       // system|value
	kindValue      = "identifier-value" // value, whatever its system
	kindNameBirth  = "name-birth-date"  // a word of a name, and the date of birth
)

// Identifier is the term of a token search: "system|value", or "value" for any
// system, or "|value" for none.
func Identifier(search string) Term {
	if system, value, ok := strings.Cut(search, "|"); ok {
		return Term{kindIdentifier, system + "|" + value}
	}
	return Term{kindValue, search}
}

// NameAndBirth is the term of one word of a name together with a birth date
// (2006-01-02): alone, neither is indexed, for names repeat and dates are few.
func NameAndBirth(word, date string) Term {
	return Term{kindNameBirth, date + "|" + fold(word)}
}

// NameWords cuts what was searched for into the words that are indexed.
func NameWords(name string) []string {
	return lo.Uniq(lo.FilterMap(strings.FieldsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || r == ',' || r == '.'
	}), func(word string, _ int) (string, bool) { return fold(word), fold(word) != "" }))
}

// fold makes upper and lower case alike, and drops what is neither letter nor
// digit: "O'Hara" is found as "ohara".
func fold(word string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, word)
}

// Terms are those of a resource: for a Patient, its identifiers, and each word
// of its names together with its birth date. Other types have none.
func Terms(r *fhir.Resource) []Term {
	if r.Type() != "Patient" {
		return nil
	}
	var patient struct {
		Identifier []struct{ System, Value string }
		Name       []struct {
			Text, Family string
			Given        []string
		}
		BirthDate string
	}
	// Well-formed already, and what is not of this shape is not indexed.
	if err := json.Unmarshal(r.JSON(), &patient); err != nil {
		return nil
	}
	var terms []Term
	for _, id := range patient.Identifier {
		if id.Value != "" {
			terms = append(terms, Term{kindIdentifier, id.System + "|" + id.Value}, Term{kindValue, id.Value})
		}
	}
	if patient.BirthDate != "" {
		for _, name := range patient.Name {
			words := NameWords(strings.Join(append(name.Given, name.Family, name.Text), " "))
			terms = append(terms, lo.Map(words, func(w string, _ int) Term { return NameAndBirth(w, patient.BirthDate) })...)
		}
	}
	return lo.Uniq(terms)
}

// SealTerms puts the terms into the envelope, under the index's key, so that
// the index can be rebuilt without opening a record.
func (k Key) SealTerms(e *records.Envelope, terms []Term) error {
	if len(terms) == 0 {
		e.Terms = nil
		return nil
	}
	plain, err := json.Marshal(terms)
	if err != nil {
		return fmt.Errorf("seal terms: %w", err)
	}
	// Padded, so that the number of names and identifiers does not show.
	plain = append(plain, strings.Repeat(" ", (256-len(plain)%256)%256)...)
	aead, err := k.aead()
	if err != nil {
		return err
	}
	e.Terms = aead.Seal(nil, nil, plain, termsAAD(&e.Label))
	return nil
}

// OpenTerms returns what SealTerms put in.
func (k Key) OpenTerms(e *records.Envelope) ([]Term, error) {
	if len(e.Terms) == 0 {
		return nil, nil
	}
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, e.Terms, termsAAD(&e.Label))
	if err != nil {
		return nil, fmt.Errorf("open terms of %s: %w", e.Label.Ref(), err)
	}
	var terms []Term
	if err := json.Unmarshal(plain, &terms); err != nil {
		return nil, fmt.Errorf("open terms of %s: %w", e.Label.Ref(), err)
	}
	return terms, nil
}

func (k Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.seal[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func termsAAD(l *records.Label) []byte {
	return []byte("wardkey-terms-v1\x00" + l.Type + "/" + l.ID + "/" + strconv.FormatUint(l.Revision, 10))
}
