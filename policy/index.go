package policy

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// GrantStatus is a statement on the log and how it stands.
type GrantStatus struct {
	Grant     Grant
	Digest    [32]byte
	Status    string    // active, withdrawn, ended, not-yet: at the time of the newest entry applied; see [GrantStatus.At]
	Index     uint64    // of the grant entry
	Withdrawn time.Time // of the withdrawal, or of the statement that replaced it; zero if neither
	By        string    // the statement that replaced it, if one did
}

// The statuses of a statement.
const (
	StatusActive    = "active"
	StatusWithdrawn = "withdrawn"
	StatusEnded     = "ended"
	StatusNotYet    = "not-yet"
)

// At is the status at an instant.
func (g GrantStatus) At(now time.Time) string {
	ms := now.UnixMilli()
	switch {
	case !g.Withdrawn.IsZero():
		return StatusWithdrawn
	case ms < g.Grant.Time.Nbf:
		return StatusNotYet
	case g.Grant.Time.Exp != 0 && ms >= g.Grant.Time.Exp:
		return StatusEnded
	}
	return StatusActive
}

// record is a statement in the index.
type record struct {
	grant     Grant
	digest    [32]byte
	index     uint64
	withdrawn int64 // Unix ms; 0: not
	by        string
	provision *provision
}

func (r *record) status(now int64) GrantStatus {
	g := GrantStatus{Grant: r.grant, Digest: r.digest, Index: r.index, By: r.by}
	if r.withdrawn != 0 {
		g.Withdrawn = time.UnixMilli(r.withdrawn).UTC()
	}
	g.Status = g.At(time.UnixMilli(now))
	return g
}

// dossier is what the index has about one patient; that of "" is about all.
type dossier struct {
	all     []*record            // in order of the log
	grants  map[string][]*record // permits that are consent and grant at once, by actor, best first
	others  map[string][]*record // other permits, by actor
	denials map[string][]*record // by actor
}

// statements finds statements by patient and actor. The lock of the state
// guards it.
type statements struct {
	byID      map[string]*record
	byPatient map[string]*dossier
	byActor   map[string]map[string]int // actor, patient: how many permits
}

func newStatements() statements {
	return statements{byID: map[string]*record{}, byPatient: map[string]*dossier{}, byActor: map[string]map[string]int{}}
}

// add indexes a record. Of grants that permit the same, one is used: that with
// the fewest redacted elements, then the bytewise smallest id. Keeping them in
// that order lets a decision stop at the first.
func (s *statements) add(r *record) {
	patient := r.grant.Patient
	d := s.byPatient[patient]
	if d == nil {
		d = &dossier{grants: map[string][]*record{}, others: map[string][]*record{}, denials: map[string][]*record{}}
		s.byPatient[patient] = d
	}
	s.byID[r.grant.ID] = r
	d.all = append(d.all, r)
	into := d.others
	switch {
	case r.provision.deny:
		into = d.denials
	case r.provision.both():
		into = d.grants
	}
	for _, key := range r.provision.keys() {
		i, _ := slices.BinarySearchFunc(into[key], r, better)
		into[key] = slices.Insert(into[key], i, r)
		if !r.provision.deny {
			if s.byActor[key] == nil {
				s.byActor[key] = map[string]int{}
			}
			s.byActor[key][patient]++
		}
	}
}

func better(a, b *record) int {
	return cmp.Or(
		cmp.Compare(len(a.provision.obligations.Redact), len(b.provision.obligations.Redact)),
		cmp.Compare(a.grant.ID, b.grant.ID),
	)
}

// patients returns about whom some permit names one of the keys and has not
// ended.
func (s *statements) patients(keys []string, now int64, into map[string]struct{}) {
	for _, key := range keys {
		for patient := range s.byActor[key] {
			if _, there := into[patient]; there || patient == "" {
				continue
			}
			d := s.byPatient[patient]
			if slices.ContainsFunc(d.grants[key], running(now)) || slices.ContainsFunc(d.others[key], running(now)) {
				into[patient] = struct{}{}
			}
		}
	}
}

func running(now int64) func(*record) bool {
	return func(r *record) bool {
		p := r.provision
		return r.withdrawn == 0 && !p.never && p.nbf <= now && (p.exp == 0 || now < p.exp)
	}
}

// Grants returns the statements about a patient ("Patient/p1"), in the order of
// the log.
func (s *State) Grants(patient string) []GrantStatus {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.statements.byPatient[patient]
	if d == nil {
		return nil
	}
	out := make([]GrantStatus, len(d.all))
	for i, r := range d.all {
		out[i] = r.status(s.latest)
	}
	return out
}

// GrantByID returns one statement.
func (s *State) GrantByID(id string) (GrantStatus, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.statements.byID[id]
	if !ok {
		return GrantStatus{}, false
	}
	return r.status(s.latest), true
}

// Patients returns, sorted, about whom this subject could have a permit now:
// its own record, and those with a running permit or relation that names it.
// Each record is decided all the same.
func (s *State) Patients(sub Subject, now time.Time) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := map[string]struct{}{}
	if isRef(sub.ID, "Patient") {
		found[sub.ID] = struct{}{}
	}
	keys := append(make([]string, 0, len(sub.Roles)+2), sub.ID, anybody)
	for _, role := range sub.Roles {
		keys = append(keys, roleKey(role))
	}
	s.statements.patients(keys, now.UnixMilli(), found)
	s.relations.patients(sub.ID, now.UnixMilli(), found)
	return slices.Sorted(maps.Keys(found))
}
