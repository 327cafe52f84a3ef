package policy

import (
	"slices"

	"github.com/samber/lo"
)

// provision is a grant made ready to be matched: codes short where their system
// is fixed, denies widened to what lies below, what is not understood resolved.
// It is immutable.
type provision struct {
	id          string
	layer       string
	deny        bool
	hard        bool
	nbf, exp    int64 // exp 0: no end
	actors      []Actor
	actions     []string
	purposes    []string
	classes     []string
	categories  []string
	codes       []string
	data        []Data
	span        *Span
	any, cover  []string
	ceiling     int  // rank; permits
	sensitive   bool // a permit that must cover every sensitivity there is
	floor       int  // rank, -1: none; denies
	treatUntil  int64
	doctor      string
	approvals   bool
	obligations Obligations

	never      bool // a permit of which nothing understood is left
	everything bool // a deny with something not understood: all of its patient
}

// compile resolves what a grant says against the terms.
func compile(g Grant, t *termTable) *provision {
	p := &provision{
		id: g.ID, layer: g.Layer, deny: g.Effect == EffectDeny, hard: g.Hard,
		nbf: g.Time.Nbf, exp: g.Time.Exp, data: nil, span: g.DataTime, approvals: g.Approvals != nil,
		ceiling: t.rank("N"), floor: -1,
	}
	if g.Treatment != nil {
		p.treatUntil, p.doctor = g.Treatment.Until, g.Treatment.Doctor
	}
	if g.Obligations != nil {
		p.obligations = *g.Obligations
		p.obligations.Redact = slices.Sorted(slices.Values(g.Obligations.Redact))
	}
	if p.deny && p.exp != 0 && p.exp <= p.nbf { // a deny that makes no sense denies always
		p.nbf, p.exp = 0, 0
	}
	p.actors = understood(p, g.Actors, t.knowsActor)
	p.actions = understood(p, g.Actions, func(a string) bool { return t.Actions[a] != "" })
	p.purposes = mapList(understood(p, g.Purposes, t.knowsPurpose), Code)
	p.classes = mapList(understood(p, g.Classes, t.knowsClass), Code)
	p.categories = understood(p, g.Categories, t.knowsCoding)
	p.codes = understood(p, g.Codes, t.knowsCoding)
	p.data = understood(p, g.Data, t.knowsData)
	if g.DataTime != nil && g.DataTime.To != 0 && g.DataTime.To <= g.DataTime.From {
		p.strange()
	}
	p.compileLabels(g.Labels, t)
	p.sensitive = p.any != nil || p.cover != nil || p.ceiling < t.rank("R") // which is what a sensitivity makes
	if p.deny {
		p.purposes = widen(p.purposes, t.belowPurpose)
		p.any = widen(p.any, t.belowSensitive)
	}
	return p
}

func (p *provision) compileLabels(l *Labels, t *termTable) {
	if l == nil {
		return
	}
	p.any = understood(p, l.Any, t.sensitivity)
	p.cover = understood(p, l.Cover, t.sensitivity)
	if l.MaxConf != "" {
		p.ceiling = t.rank(l.MaxConf) // -1 lets nothing pass
	}
	if l.MinConf != "" {
		if p.floor = t.rank(l.MinConf); p.floor < 0 {
			p.strange()
		}
	}
}

// understood keeps the elements that are understood. A permit that loses all of
// them matches nothing; a deny that loses one matches all of its patient.
func understood[T any](p *provision, list []T, knows func(T) bool) []T {
	known := lo.Filter(list, func(e T, _ int) bool { return knows(e) })
	if len(known) < len(list) && (p.deny || len(known) == 0) {
		p.strange()
	}
	if list == nil {
		return nil
	}
	return known
}

// strange notes what is not understood and cannot be left out.
func (p *provision) strange() {
	p.never = !p.deny
	p.everything = p.deny
}

// widen adds what lies below each code.
func widen(list []string, below map[string][]string) []string {
	if list == nil {
		return nil
	}
	return lo.Uniq(append(slices.Clone(list), lo.FlatMap(list, func(c string, _ int) []string { return below[c] })...))
}

// both tells a permit that is consent and grant at once: one that the patient
// signed as a grant, or a consent that names a person and has an end.
func (p *provision) both() bool {
	if p.layer == LayerGrant {
		return true
	}
	return p.layer == LayerConsent && p.exp != 0 && p.actors != nil &&
		lo.EveryBy(p.actors, func(a Actor) bool { return a.Ref != "" })
}

// keys are where the index keeps a provision: under each person and each role
// it names, or under anybody.
func (p *provision) keys() []string {
	if p.actors == nil || p.everything {
		return []string{anybody}
	}
	return lo.Uniq(lo.Map(p.actors, func(a Actor, _ int) string {
		if a.Ref != "" {
			return a.Ref
		}
		return roleKey(Code(a.Role))
	}))
}

const anybody = "*"

func roleKey(role string) string { return "role:" + role }
