package policy

import (
	"slices"
)

// asked is the part of a request that is the same for all records of a page.
type asked struct {
	id      string
	roles   []string
	covered []string // people whose denies bind the subject too
	action  string
	purpose string
	now     int64 // Unix ms
	end     int64 // of the session, Unix ms
}

// miss is the one thing that keeps a permit from matching.
type miss uint8

const (
	missNothing   miss = iota
	missApprovals      // nobody else has signed
	missWithdrawn
	missTreatment // over, and the subject is not its doctor
	missExpired
	missNotYet
	missNumber
)

var missNames = [missNumber]string{
	missApprovals: string(Approvals), missWithdrawn: string(Withdrawn), missTreatment: string(TreatmentOver),
	missExpired: string(Expired), missNotYet: string(NotYet),
}

// when tells what of time and state keeps the permit from mattering now.
func (p *provision) when(a *asked, withdrawn bool) miss {
	switch {
	case a.now < p.nbf:
		return missNotYet
	case p.exp != 0 && a.now >= p.exp:
		return missExpired
	case withdrawn:
		return missWithdrawn
	case p.treatUntil != 0 && a.now >= p.treatUntil && a.id != p.doctor:
		return missTreatment
	case p.approvals:
		return missApprovals
	}
	return missNothing
}

// fits tells whether actor, action and purpose match. Denies have been widened
// to what lies below their purposes.
func (p *provision) fits(a *asked) bool {
	if p.never {
		return false
	}
	return p.everything || (fitsAny(p.actions, a.action) && fitsAny(p.purposes, a.purpose) && p.names(a))
}

// names tells whether the subject is one of the actors. A deny against a person
// binds whoever stands in for that person.
func (p *provision) names(a *asked) bool {
	if p.actors == nil {
		return true
	}
	for _, actor := range p.actors {
		role := actor.Role == "" || slices.Contains(a.roles, Code(actor.Role))
		if role && (actor.Ref == "" || actor.Ref == a.id) {
			return true
		}
		if p.deny && actor.Ref != "" && slices.Contains(a.covered, actor.Ref) {
			return true
		}
	}
	return false
}

// fitsAny: an absent list is any.
func fitsAny(list []string, s string) bool { return list == nil || slices.Contains(list, s) }

// view is a record with the rank of its confidentiality, -1 if that is not known.
type view struct {
	*Resource
	rank int
}

// covers tells whether the record is among those meant.
func (p *provision) covers(r *view) bool {
	if p.everything {
		return true
	}
	if !fitsAny(p.classes, r.Type) {
		return false
	}
	if p.deny {
		return p.denies(r)
	}
	return p.permits(r)
}

// permits wants every fact to be there: what a record lacks fails.
func (p *provision) permits(r *view) bool {
	if r.rank < 0 || r.rank > p.ceiling {
		return false
	}
	if p.sensitive && !containsAll(p.any, p.cover, r.Sens) {
		return false
	}
	return (p.any == nil || overlap(p.any, r.Sens)) &&
		(p.categories == nil || overlap(p.categories, r.Categories)) &&
		(p.codes == nil || overlap(p.codes, r.Codes)) &&
		(p.span == nil || (r.dated() && p.span.contains(r.Resource))) &&
		(p.data == nil || slices.ContainsFunc(p.data, func(d Data) bool { return d.of(r.Resource) }))
}

// denies takes what a record lacks as a match.
func (p *provision) denies(r *view) bool {
	return p.forbids(r) &&
		(p.categories == nil || len(r.Categories) == 0 || overlap(p.categories, r.Categories)) &&
		(p.codes == nil || len(r.Codes) == 0 || overlap(p.codes, r.Codes)) &&
		(p.span == nil || p.span.overlaps(r.Resource)) &&
		(p.data == nil || slices.ContainsFunc(p.data, func(d Data) bool { return d.of(r.Resource) || d.missing(r.Resource) }))
}

// forbids tells whether a deny's labels hit: one of its sensitivities, or its
// floor, or a record whose label is not known.
func (p *provision) forbids(r *view) bool {
	if p.any == nil && p.floor < 0 {
		return true
	}
	return r.rank < 0 || (p.floor >= 0 && r.rank >= p.floor) || overlap(p.any, r.Sens)
}

func (r *Resource) dated() bool { return r.From != 0 || r.To != 0 }

// contains tells whether the record's time lies within the span. A record that
// is open at an end does not lie within a span that is closed there.
func (s *Span) contains(r *Resource) bool {
	return (s.From == 0 || (r.From != 0 && r.From >= s.From)) && (s.To == 0 || (r.To != 0 && r.To <= s.To))
}

// overlaps tells whether the record's time and the span have an instant in
// common. A record without a time could be of any.
func (s *Span) overlaps(r *Resource) bool {
	return (s.From == 0 || r.To == 0 || r.To > s.From) && (s.To == 0 || r.From == 0 || r.From < s.To)
}

// of tells whether the record is the one named, belongs to the encounter named,
// or was written by the author named.
func (d Data) of(r *Resource) bool {
	switch d.Meaning {
	case "instance":
		return d.Ref == r.Type+"/"+r.ID
	case "related":
		return d.Ref == r.Encounter || d.Ref == r.Type+"/"+r.ID
	default:
		return d.Ref == r.Author
	}
}

func (d Data) missing(r *Resource) bool {
	return (d.Meaning == "related" && r.Encounter == "") || (d.Meaning == "authoredby" && r.Author == "")
}

func overlap(a, b []string) bool {
	for _, s := range a {
		if slices.Contains(b, s) {
			return true
		}
	}
	return false
}

func containsAll(a, b, all []string) bool {
	for _, s := range all {
		if !slices.Contains(a, s) && !slices.Contains(b, s) {
			return false
		}
	}
	return true
}
