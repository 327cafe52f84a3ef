package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/samber/lo"
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
	live    []*record            // those that may still matter to a decision
	grants  map[string][]*record // of these, permits that are consent and grant at once, by actor, best first
	others  map[string][]*record // other permits, by actor
	denials map[string][]*record // by actor
}

// Limits of what one hand (the patient, the law, the organisation) may have on
// the log about one patient at a time, so that nobody can make a patient's
// decisions slow, or a custodian's memory full.
const (
	maxRunning   = 256 // neither ended nor withdrawn
	maxWithdrawn = 256 // permits withdrawn before their end; they keep implicit policies from permitting

	// keepEnded is how long after its end a statement is looked at, and counted:
	// an entry decided at its own, earlier time finds it.
	keepEnded = time.Hour
	// explained is how many of those that ended stay, newest first, for a reason
	// to be given.
	explained = 16
)

// statements finds statements by patient and actor. The lock of the state
// guards it.
type statements struct {
	byID      map[string]*record
	byPatient map[string]*dossier
	byActor   map[string]map[string]int64 // actor, patient: when the last permit ends, Unix ms
	sweep     int64                       // when to look through byActor next
}

func newStatements() statements {
	return statements{byID: map[string]*record{}, byPatient: map[string]*dossier{}, byActor: map[string]map[string]int64{}}
}

// ended tells whether a statement is over for good.
func (r *record) ended(now int64) bool {
	return r.provision.exp != 0 && r.provision.exp+keepEnded.Milliseconds() <= now
}

// silent tells whether a statement says nothing any more: a permit that was
// withdrawn still keeps implicit policies from permitting what it covered.
func (r *record) silent() bool {
	return r.withdrawn != 0 && (r.by != "" || r.provision.deny)
}

// room refuses a statement beyond the limits of its hand.
func (s *statements) room(g Grant, replaced []*record, now int64) error {
	d := s.byPatient[g.Patient]
	if d == nil {
		return nil
	}
	mine := lo.Filter(d.live, func(r *record, _ int) bool {
		return !r.ended(now) && hand(r.grant.Layer) == hand(g.Layer) && !slices.Contains(replaced, r)
	})
	runs := lo.CountBy(mine, func(r *record) bool { return r.withdrawn == 0 })
	if runs >= maxRunning {
		return fmt.Errorf("%d statements are running already, which is the most: withdraw or replace some", maxRunning)
	}
	if silenced := lo.CountBy(mine, func(r *record) bool { return r.withdrawn != 0 && !r.silent() }); g.Effect == EffectPermit && silenced >= maxWithdrawn {
		return fmt.Errorf("%d permits were withdrawn and have not ended yet, which is the most", maxWithdrawn)
	}
	return nil
}

// add indexes a record. Of grants that permit the same, one is used: that with
// the fewest redacted elements, then the bytewise smallest id. Keeping them in
// that order lets a decision stop at the first.
func (s *statements) add(r *record, now int64) {
	patient := r.grant.Patient
	d := s.byPatient[patient]
	if d == nil {
		d = &dossier{grants: map[string][]*record{}, others: map[string][]*record{}, denials: map[string][]*record{}}
		s.byPatient[patient] = d
	}
	s.drop(d, d.over(now), now)
	s.byID[r.grant.ID] = r
	d.all = append(d.all, r)
	s.forget(now)
	if r.silent() {
		return // it was withdrawn before it came
	}
	d.live = append(d.live, r)
	into := d.list(r)
	for _, key := range r.provision.keys() {
		i, _ := slices.BinarySearchFunc(into[key], r, better)
		into[key] = slices.Insert(into[key], i, r)
		s.until(d, patient, key, now)
	}
}

// list is where a record is kept by actor.
func (d *dossier) list(r *record) map[string][]*record {
	switch {
	case r.provision.deny:
		return d.denials
	case r.provision.both():
		return d.grants
	}
	return d.others
}

// over returns what has ended, but for the newest.
func (d *dossier) over(now int64) []*record {
	ended := lo.Filter(d.live, func(r *record, _ int) bool { return r.ended(now) })
	return ended[:max(0, len(ended)-explained)]
}

// withdraw ends a record; by is the statement that replaces it, if one does.
func (s *statements) withdraw(r *record, now int64, by string) {
	r.withdrawn, r.by = now, by
	d := s.byPatient[r.grant.Patient]
	if r.silent() {
		s.drop(d, []*record{r}, now)
		return
	}
	for _, key := range r.provision.keys() {
		s.until(d, r.grant.Patient, key, now)
	}
}

// drop takes records out of what decisions look through.
func (s *statements) drop(d *dossier, gone []*record, now int64) {
	for _, r := range gone {
		same := func(other *record) bool { return other == r }
		d.live = slices.DeleteFunc(d.live, same)
		list := d.list(r)
		for _, key := range r.provision.keys() {
			if list[key] = slices.DeleteFunc(list[key], same); len(list[key]) == 0 {
				delete(list, key)
			}
			s.until(d, r.grant.Patient, key, now)
		}
	}
}

// until notes when the last permit of an actor about a patient ends.
func (s *statements) until(d *dossier, patient, key string, now int64) {
	var last int64
	for _, list := range [][]*record{d.grants[key], d.others[key]} {
		for _, r := range list {
			if end := r.provision.exp; r.withdrawn == 0 && end == 0 {
				last = maxTime
			} else if r.withdrawn == 0 && !r.ended(now) {
				last = max(last, end)
			}
		}
	}
	if last == 0 {
		if delete(s.byActor[key], patient); len(s.byActor[key]) == 0 {
			delete(s.byActor, key)
		}
		return
	}
	if s.byActor[key] == nil {
		s.byActor[key] = map[string]int64{}
	}
	s.byActor[key][patient] = last
}

// forget drops actors' patients whose permits have all ended. It looks at most
// once in keepEnded of the log's time.
func (s *statements) forget(now int64) {
	if now < s.sweep {
		return
	}
	s.sweep = now + keepEnded.Milliseconds()
	for key, patients := range s.byActor {
		maps.DeleteFunc(patients, func(_ string, last int64) bool { return last+keepEnded.Milliseconds() <= now })
		if len(patients) == 0 {
			delete(s.byActor, key)
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
		for patient, last := range s.byActor[key] {
			if _, there := into[patient]; there || patient == "" || last <= now {
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
