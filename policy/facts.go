package policy

import (
	"slices"
	"strings"
)

// facts are what matters about one record for one request: which statements
// match, and which relations there are. The rules see them as a [situation].
type facts struct {
	denied  [denyNumber]*record // the first that matches, of each kind
	grant   *record             // the best permit that is consent and grant at once
	consent *record             // the best other consent
	missed  [missNumber]*record
	bound   []*record // permits of the consent layer whose obligations count
	changes int64     // when the next deny starts to match, Unix ms; 0: none
	related [relNumber]held
}

// The kinds of denies, as the rules name them.
const (
	denyLegal = iota
	denyOrg
	denyVague // of the consent layer, and not understood
	denyHard
	denyConsent
	denyNumber
)

var denyNames = [denyNumber]string{denyLegal: LayerLegal, denyOrg: LayerOrg, denyVague: string(NotUnderstood), denyHard: "hard", denyConsent: LayerConsent}

// kind is the kind of a deny.
func (p *provision) kind() int {
	switch {
	case p.layer == LayerLegal:
		return denyLegal
	case p.layer == LayerOrg:
		return denyOrg
	case p.everything:
		return denyVague
	case p.hard:
		return denyHard
	}
	return denyConsent
}

// found are the statements that fit a request as far as it is the same for all
// records of a patient: actor, action, purpose.
type found struct {
	denies  []*record // running now
	starts  []*record // denies yet to start
	permits []match   // layer grant first, best first; then the others
	related [relNumber]held
}

type match struct {
	*record
	miss miss
}

// find collects what the index has for a patient and a subject. The state's
// lock is held.
func (s *State) find(a *asked, patient string) found {
	f := found{}
	if patient != "" {
		f.related, a.covered = s.relations.between(a.id, patient, a.now)
		if a.id == patient {
			f.related[relSelf] = held{until: maxTime}
		}
	} else {
		a.covered = nil
	}
	about := []*dossier{s.statements.byPatient[patient]}
	if patient != "" {
		about = append(about, s.statements.byPatient[""])
	}
	for _, d := range about {
		if d == nil {
			continue
		}
		keys := append(append(make([]string, 0, 8), a.id, anybody), a.covered...)
		for _, role := range a.roles {
			keys = append(keys, roleKey(role))
		}
		for i, key := range keys {
			if !slices.Contains(keys[:i], key) {
				f.take(a, d, key)
			}
		}
	}
	return f
}

func (f *found) take(a *asked, d *dossier, key string) {
	for _, r := range d.denials[key] {
		if r.withdrawn != 0 || !r.provision.fits(a) {
			continue
		}
		switch r.provision.when(a, false) {
		case missNothing, missTreatment, missApprovals: // nothing of these makes a deny weaker
			f.denies = append(f.denies, r)
		case missNotYet:
			f.starts = append(f.starts, r)
		}
	}
	for _, list := range [][]*record{d.grants[key], d.others[key]} {
		for _, r := range list {
			if r.by == "" && r.provision.fits(a) {
				f.permits = append(f.permits, match{r, r.provision.when(a, r.withdrawn != 0)})
			}
		}
	}
}

// on narrows what was found to one record.
func (f *found) on(record *Resource, t *termTable) facts {
	out := facts{related: f.related}
	r := &view{record, t.rank(record.Conf)}
	for _, d := range f.denies {
		if kind := d.provision.kind(); precedes(d, out.denied[kind]) && d.provision.covers(r) {
			out.denied[kind] = d
		}
	}
	for _, d := range f.starts {
		if nbf := d.provision.nbf; (out.changes == 0 || nbf < out.changes) && d.provision.covers(r) {
			out.changes = nbf
		}
	}
	for _, m := range f.permits {
		out.permit(m, r)
	}
	return out
}

// permit notes a permit if it covers the record and is the best of its kind.
func (f *facts) permit(m match, r *view) {
	p := m.provision
	if m.miss != missNothing {
		if precedes(m.record, f.missed[m.miss]) && p.covers(r) {
			f.missed[m.miss] = m.record
		}
		return
	}
	into := &f.consent
	if p.both() {
		into = &f.grant
	}
	bind := p.layer != LayerGrant && !p.obligations.none()
	if (bind || precedes(m.record, *into)) && p.covers(r) {
		if precedes(m.record, *into) {
			*into = m.record
		}
		if bind {
			f.bound = append(f.bound, m.record)
		}
	}
}

// precedes tells whether a is to be used rather than b.
func precedes(a, b *record) bool { return b == nil || better(a, b) < 0 }

func (o Obligations) none() bool { return o.Redact == nil && !o.Alert && !o.NoRedisclose }

// situation is all that the rules see of a request and a record: small, and
// comparable, so that what the rules said of it once can be remembered. Sets
// are bits, in the order of their names.
type situation struct {
	session  bool
	stated   bool // the purpose is one the session may state
	scope    bool
	register bool // a system client registered for this write
	hidden   bool // VIP, or very restricted
	denies   uint8
	permits  uint8
	misses   uint8
	related  uint8
	roles    string // joined by spaces
	action   string
	purpose  string
	implicit string
	typ      string
	conf     string
}

// permitNames are the bits of situation.permits.
var permitNames = [...]string{"grant", "consent"}

// fill sets what the facts say.
func (s *situation) fill(f *facts) {
	s.denies, s.permits, s.misses, s.related = 0, 0, 0, 0
	for i, r := range f.denied {
		s.denies |= bit(r != nil, i)
	}
	for i, r := range [...]*record{f.grant, f.consent} {
		s.permits |= bit(r != nil, i)
	}
	for i, r := range f.missed {
		s.misses |= bit(r != nil, i)
	}
	for i, h := range f.related {
		s.related |= bit(h.until != 0, i)
	}
}

func bit(set bool, i int) uint8 {
	if set {
		return 1 << i
	}
	return 0
}

// hides tells labels that keep a patient out of look-ups.
func hides(r *Resource) bool {
	return r.Conf == "V" || r.Conf == "" || slices.Contains(r.Sens, vip)
}

const vip = SystemSensitivity + "|VIP"

func joinRoles(roles []string) string {
	if len(roles) == 1 {
		return roles[0]
	}
	return strings.Join(roles, " ")
}
