package fhir

import (
	"fmt"
	"strings"
	"time"
)

// Value is what a resource has to offer to one search parameter. Which fields
// are set depends on Kind.
type Value struct {
	Kind       string // the parameter's type
	Coding     Coding // token; quantity: system and code of the unit
	Implied    bool   // token: the system is implied by the element, not written in the resource
	Text       string // string, uri; reference: as written if it is none of ours; quantity: the unit for people
	Period     Period // date
	Ref        Ref    // reference to a resource of ours
	Number     string // number, quantity: the literal
	Comparator string // quantity: "<" and the like if the true value is not known exactly
}

// Values returns the values of a search parameter in a resource, in document order. Dates
// without a zone are taken as UTC. What is malformed has no value, since a search
// must not fail for one bad record. The error is a [*QueryError] for a parameter that
// the type does not have, or the expression's own.
func Values(param string, r *Resource) ([]Value, error) {
	p, ok := LookupParam(r.typ, param)
	if !ok {
		return nil, unknownParam(r.typ, param)
	}
	return p.Values(r)
}

// Values is [Values] for a parameter that is at hand already.
func (p Param) Values(r *Resource) ([]Value, error) { return p.values(r, nil, "") }

func (p Param) values(r *Resource, zone *time.Location, base string) ([]Value, error) {
	elements, err := p.program.run(r)
	if err != nil {
		return nil, fmt.Errorf("search parameter %s: %w", p.Name, err)
	}
	var vs []Value
	for _, e := range elements {
		switch p.Type {
		case TypeToken:
			vs = p.appendTokens(vs, e)
		case TypeReference:
			vs = appendReference(vs, e, base)
		case TypeDate:
			vs = appendDate(vs, e, zone)
		case TypeString:
			vs = appendStrings(vs, e)
		case TypeNumber, TypeQuantity:
			vs = appendNumber(vs, p.Type, e)
		case TypeURI:
			if s, ok := text(e.json); ok {
				vs = append(vs, Value{Kind: TypeURI, Text: s})
			}
		}
	}
	return vs, nil
}

// Codings returns the token values of a search parameter; none if the parameter does not
// exist or is no token.
func Codings(param string, r *Resource) []Coding {
	vs, err := Values(param, r)
	if err != nil {
		return nil
	}
	var cs []Coding
	for _, v := range vs {
		if v.Kind == TypeToken {
			cs = append(cs, v.Coding)
		}
	}
	return cs
}

// appendTokens follows the table of R4 §3.1.1.4.10: Coding, CodeableConcept, Identifier,
// ContactPoint, code, boolean, string.
func (p Param) appendTokens(vs []Value, e element) []Value {
	token := func(c Coding, implied bool) {
		if c.Code != "" || c.System != "" {
			vs = append(vs, Value{Kind: TypeToken, Coding: c, Implied: implied})
		}
	}
	switch e.json[0] {
	case '"':
		s, _ := text(e.json)
		token(Coding{System: p.system, Code: s}, true)
	case '{':
		if concept := member(e.json, "coding"); concept != nil {
			for c := range items(concept) {
				token(coding(c), false)
			}
			break
		}
		if value, ok := text(member(e.json, "value")); ok {
			system := textAt(e.json, "system")
			if !strings.Contains(system, ":") {
				system = "" // a ContactPoint's "phone" is no code system
			}
			token(Coding{System: system, Code: value}, false)
			break
		}
		token(coding(e.json), false)
	case '[', 'n':
	default: // true, false, numbers
		token(Coding{Code: string(e.json)}, true)
	}
	return vs
}

func appendReference(vs []Value, e element, base string) []Value {
	s, ok := text(e.json)
	if !ok {
		if s, ok = text(member(e.json, "reference")); !ok {
			if typ := textAt(e.json, "resourceType"); typ != "" {
				s = typ + "/" + textAt(e.json, "id")
			}
		}
	}
	if s == "" {
		return vs
	}
	ref, err := ParseRef(s, base)
	if err != nil {
		return append(vs, Value{Kind: TypeReference, Text: s})
	}
	return append(vs, Value{Kind: TypeReference, Ref: ref})
}

func appendDate(vs []Value, e element, zone *time.Location) []Value {
	add := func(p Period, ok bool) {
		if ok {
			vs = append(vs, Value{Kind: TypeDate, Period: p})
		}
	}
	switch e.json[0] {
	case '"':
		add(datePeriod(e.json, zone))
	case '{':
		if member(e.json, "start") != nil || member(e.json, "end") != nil {
			add(boundsPeriod(e.json, zone))
		} else {
			add(timingPeriod(e.json, zone))
		}
	}
	return vs
}

func datePeriod(value []byte, zone *time.Location) (Period, bool) {
	s, ok := text(value)
	if !ok {
		return Period{}, false
	}
	p, err := ParseDate(s, zone)
	return p, err == nil
}

// boundsPeriod reads a Period. Both ends belong to it, at their precision.
func boundsPeriod(object []byte, zone *time.Location) (p Period, ok bool) {
	if v := member(object, "start"); v != nil {
		start, ok := datePeriod(v, zone)
		if !ok {
			return Period{}, false
		}
		p.From = start.From
	}
	if v := member(object, "end"); v != nil {
		end, ok := datePeriod(v, zone)
		if !ok {
			return Period{}, false
		}
		p.To = end.To
	}
	return p, true
}

// timingPeriod reads a Timing: from its first event or bound to its last.
func timingPeriod(object []byte, zone *time.Location) (p Period, ok bool) {
	for v := range at(object, "event") {
		if event, good := datePeriod(v, zone); good {
			if !ok {
				p, ok = event, true
			}
			p = p.around(event)
		}
	}
	if bounds := member(member(object, "repeat"), "boundsPeriod"); bounds != nil {
		if b, good := boundsPeriod(bounds, zone); good {
			if !ok {
				p, ok = b, true
			}
			p = p.around(b)
		}
	}
	return p, ok
}

// appendStrings takes a string, or of a HumanName or Address every part.
func appendStrings(vs []Value, e element) []Value {
	if s, ok := text(e.json); ok {
		return append(vs, Value{Kind: TypeString, Text: s})
	}
	for _, name := range []string{
		"text", "family", "given", "prefix", "suffix", // HumanName
		"line", "city", "district", "state", "postalCode", "country", // Address
	} {
		for v := range at(e.json, name) {
			if s, ok := text(v); ok {
				vs = append(vs, Value{Kind: TypeString, Text: s})
			}
		}
	}
	return vs
}

func appendNumber(vs []Value, kind string, e element) []Value {
	v := Value{Kind: kind}
	number := e.json
	if e.json[0] == '{' {
		number = member(e.json, "value")
		v.Text = textAt(e.json, "unit")
		v.Coding = Coding{System: textAt(e.json, "system"), Code: textAt(e.json, "code")}
		v.Comparator = textAt(e.json, "comparator")
		if currency := textAt(e.json, "currency"); currency != "" {
			v.Coding = Coding{System: "urn:iso:std:iso:4217", Code: currency}
		}
	}
	if n := numberLength(number); n == 0 || n != len(number) || !saneNumber(number) {
		return vs
	}
	v.Number = string(number)
	return append(vs, v)
}
