package fhir

import (
	"strings"
	"testing"
)

func TestEveryParameterOfR4Compiles(t *testing.T) {
	n := 0
	for _, typ := range Types() {
		for _, p := range Params(typ) {
			if _, err := p.program.clauses(); err != nil {
				t.Errorf("%s.%s: %v", typ, p.Name, err)
			}
			if !strings.Contains(p.Expression, typ) {
				t.Errorf("%s.%s: %q is not cut to the type", typ, p.Name, p.Expression)
			}
			n++
		}
	}
	if n < 1500 {
		t.Errorf("%d parameters, want all of R4", n)
	}
}
