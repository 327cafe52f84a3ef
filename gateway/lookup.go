package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/index"
)

// lookupParam is true of the parameters by which the workforce finds a patient.
func lookupParam(name string) bool {
	switch name {
	case "identifier", "name", "family", "given", "birthdate":
		return true
	}
	return false
}

func isLookup(q fhir.Query) bool {
	return slices.ContainsFunc(q.Terms, func(t fhir.Term) bool { return lookupParam(t.Param.Name) })
}

// lookup finds patients by identifier, or by name and birth date: enough to know
// whom to ask, or to break the glass for. Who may read the patient gets the
// record; the workforce otherwise gets a minimal view, through the custodians
// like everything, each look-up in the log under each patient it showed.
func (g *Gateway) lookup(ctx context.Context, k *call, s sought) (answer, error) {
	terms, err := lookupTerms(s.query)
	if err != nil {
		return answer{}, err
	}
	if s.after != nil {
		return answer{}, refuse(stalePage, nil)
	}
	rows, err := g.c.Index.Lookup(ctx, "Patient", g.c.Limits.Lookup+1, terms...)
	if err != nil {
		return answer{}, refuse(upstreamDown, fmt.Errorf("index: %w", err))
	}
	if len(rows) > g.c.Limits.Lookup {
		return answer{}, refuse(tooCostly, nil)
	}
	var found []*candidate
	var groups []*group
	for _, row := range rows {
		c, err := g.candidateOf(row)
		if err != nil {
			return answer{}, err
		}
		gr := &group{patient: row.Patient, action: policy.Search, policy: g.c.Engine.Digest()}
		if g.decide(ctx, k, policy.Search, c); !c.decision.Permit {
			gr.action = policy.Lookup
			g.decide(ctx, k, policy.Lookup, c)
		}
		if c.decision.Permit {
			gr.items = []*candidate{c}
			found = append(found, c)
		} else {
			gr.denied, gr.reason = 1, c.decision.Reason
		}
		groups = append(groups, gr)
	}
	if len(groups) == 0 {
		groups = []*group{{action: policy.Lookup, policy: g.c.Engine.Digest()}}
	}
	opened, err := g.disclose(ctx, k, groups, true)
	if err != nil {
		return answer{}, err
	}
	minimal := map[*candidate]bool{}
	for _, gr := range groups {
		for _, c := range gr.items {
			minimal[c] = gr.action == policy.Lookup
		}
	}
	var shown []*candidate
	for _, c := range found {
		if opened[c] == nil {
			continue
		}
		matches, err := fhir.Match(s.query, opened[c])
		if err != nil {
			return answer{}, refuse(internal, err)
		}
		if !matches {
			continue
		}
		if minimal[c] {
			if opened[c], err = minimalView(opened[c]); err != nil {
				return answer{}, refuse(internal, err)
			}
		}
		shown = append(shown, c)
	}
	return g.searchset(k, s, shown, opened, groups, nil, false)
}

// lookupTerms are the index terms of a look-up: an identifier, or a whole birth
// date together with a name. Anything less would list the hospital.
func lookupTerms(q fhir.Query) ([]index.Term, error) {
	var terms []index.Term
	var words []string
	var born string
	for _, t := range q.Terms {
		if !lookupParam(t.Param.Name) {
			continue
		}
		if t.Modifier != "" || len(t.Values) != 1 {
			return nil, unknownParameter(t.Param.Name)
		}
		switch v := t.Values[0]; t.Param.Name {
		case "identifier":
			if v.Coding.Code == "" {
				return nil, unknownParameter("identifier")
			}
			search := v.Coding.Code
			if !v.AnySystem {
				search = v.Coding.System + "|" + search
			}
			terms = append(terms, index.Identifier(search))
		case "birthdate":
			if day := v.Period.From.Format("2006-01-02"); v.Prefix == "eq" && strings.TrimPrefix(v.Raw, "eq") == day {
				born = day
			} else {
				return nil, unknownParameter("birthdate")
			}
		default:
			words = append(words, index.NameWords(v.Text)...)
		}
	}
	if (born == "") != (len(words) == 0) {
		return nil, refuseFor(unknownParam, "name and birthdate go together")
	}
	return append(terms, lo.Map(words, func(w string, _ int) index.Term { return index.NameAndBirth(w, born) })...), nil
}

// shownDigits is how much of an identifier a look-up shows: enough to compare
// with a wristband that one holds, too little to use elsewhere.
const shownDigits = 3

// minimalView is a patient as a look-up shows one.
func minimalView(r *fhir.Resource) (*fhir.Resource, error) {
	return r.With(func(tree map[string]any) {
		for name := range tree {
			switch name {
			case "resourceType", "id", "meta", "birthDate", "gender":
			case "name":
				tree[name] = cutNames(tree[name])
			case "identifier":
				tree[name] = cutIdentifiers(tree[name])
			default:
				delete(tree, name)
			}
		}
		meta, _ := tree["meta"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
		}
		kept := map[string]any{"security": append(anyList(meta["security"]), map[string]any{
			"system": subsettedLabel().System, "code": subsettedLabel().Code,
		})}
		for _, name := range []string{"versionId", "lastUpdated"} {
			if v, ok := meta[name]; ok {
				kept[name] = v
			}
		}
		tree["meta"] = kept
	})
}

func anyList(v any) []any {
	list, _ := v.([]any)
	return list
}

// cutNames keeps the parts of names, without extensions and periods.
func cutNames(v any) []any {
	return lo.FilterMap(anyList(v), func(n any, _ int) (any, bool) {
		name, ok := n.(map[string]any)
		return lo.PickByKeys(name, []string{"use", "family", "given", "prefix", "suffix"}), ok
	})
}

// cutIdentifiers keeps the last characters of each value.
func cutIdentifiers(v any) []any {
	return lo.FilterMap(anyList(v), func(n any, _ int) (any, bool) {
		id, _ := n.(map[string]any)
		value, _ := id["value"].(string)
		runes := []rune(value)
		if len(runes) == 0 {
			return nil, false
		}
		cut := "…" + string(runes[max(0, len(runes)-shownDigits):])
		if len(runes) <= 2*shownDigits {
			cut = "…" // what is left of something so short would be most of it
		}
		return map[string]any{"value": cut}, true
	})
}
