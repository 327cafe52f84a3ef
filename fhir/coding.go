package fhir

import "strings"

// Coding is a code in a code system.
type Coding struct {
	System  string // the code system's full URL; "" where the element implies it
	Code    string
	Display string // for people; never compared
	Version string // of the code system; never compared
}

// String returns "system|code", the form in which codes are written wherever
// Wardkey keeps them as text. A coding without a system is "|code".
func (c Coding) String() string { return c.System + "|" + c.Code }

// ParseCoding reads what [Coding.String] wrote: everything before the first bar is the
// system. Text without a bar is a code without a system.
func ParseCoding(s string) Coding {
	system, code, found := strings.Cut(s, "|")
	if !found {
		return Coding{Code: s}
	}
	return Coding{System: system, Code: code}
}

// tree renders c as a FHIR Coding.
func (c Coding) tree() map[string]any {
	t := make(map[string]any, 4)
	for name, value := range map[string]string{"system": c.System, "version": c.Version, "code": c.Code, "display": c.Display} {
		if value != "" {
			t[name] = value
		}
	}
	return t
}
