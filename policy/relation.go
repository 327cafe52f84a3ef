package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/samber/lo"
)

// How long a relation may last, from its beginning to its end. One that lasts
// longer is stated again: two colleagues see that it still holds, and an ADT
// system that has forgotten a discharge does not leave it open for ever.
const (
	MaxRelation        = 366 * 24 * time.Hour // signed by an ADT system
	MaxVouchedRelation = 7 * 24 * time.Hour   // signed by two members of staff
)

// lasts refuses a relation that lasts longer than at most.
func (r Relation) lasts(most time.Duration) error {
	if r.Until-r.From > most.Milliseconds() {
		return fmt.Errorf("a relation signed like this lasts %d days at most", int(most.Hours()/24))
	}
	return nil
}

var relationID = regexp.MustCompile(`^r-[A-Za-z0-9_-]{8,64}$`)

// Validate reports what makes the relation no relation.
func (r Relation) Validate() error {
	staff := isRef(r.Subject, "Practitioner")
	patient := isRef(r.Patient, "Patient")
	unit := isRef(r.Unit, "Location", "Organization")
	covered := isRef(r.For, "Practitioner") && r.For != r.Subject
	var shape bool
	switch r.Kind {
	case Treats:
		shape = staff && patient && r.Unit == "" && r.For == ""
	case AdmittedTo:
		shape = r.Subject == "" && patient && unit && r.For == ""
	case MemberOf:
		shape = staff && r.Patient == "" && unit && r.For == ""
	case GuardianOf:
		shape = isRef(r.Subject, "Patient", "RelatedPerson") && patient && r.Subject != r.Patient && r.Unit == "" && r.For == ""
	case CoversFor:
		shape = staff && patient && r.Unit == "" && covered
	default:
		return fmt.Errorf("kind %q", clip(r.Kind))
	}
	switch {
	case !shape:
		return fmt.Errorf("subject, patient, unit or for do not suit %s", r.Kind)
	case r.V != 1:
		return fmt.Errorf("version %d, not 1", r.V)
	case !relationID.MatchString(r.ID):
		return fmt.Errorf("id %q: want r- and 8 to 64 of A-Z a-z 0-9 _ -", clip(r.ID))
	case r.Until <= r.From || r.From < minTime || r.Until > maxTime:
		return errors.New("a relation must end, after it begins")
	case r.Issued == 0:
		return errors.New("a relation says when it was issued")
	}
	return nil
}

// The relations a subject can have to a record's patient, as the rules name
// them. Self is no statement: it is being that patient.
const (
	relSelf = iota
	relTreats
	relAdmitted
	relCovers
	relGuardian
	relNumber
)

var relNames = [relNumber]string{relSelf: "self", relTreats: Treats, relAdmitted: AdmittedTo, relCovers: CoversFor, relGuardian: GuardianOf}

// held is the longest-lived relation of a kind: its end, and its id.
type held struct {
	until int64 // Unix ms; 0: none
	id    string
}

// relations finds relations by whom they serve and about whom they are. The
// lock of the state guards it.
type relations struct {
	byID      map[string]Relation
	vouched   map[string][]string            // id: who signed
	bySubject map[string]map[string][]string // subject, patient: ids of treats, covers-for, guardian-of
	admitted  map[string][]string            // patient: ids
	inUnit    map[string][]string            // unit: ids of admissions
	members   map[string][]string            // subject: ids of memberships
}

func newRelations() relations {
	return relations{
		byID: map[string]Relation{}, vouched: map[string][]string{}, bySubject: map[string]map[string][]string{},
		admitted: map[string][]string{}, inUnit: map[string][]string{}, members: map[string][]string{},
	}
}

// serves tells whether a relation gives the person something, who then is no
// witness to it: its subject, for whom the subject stands in, and of an admission
// everybody who works in the unit, now or while it lasts.
func (s *relations) serves(r Relation, person string, now int64) bool {
	if person == r.Subject || person == r.For {
		return true
	}
	return r.Kind == AdmittedTo && lo.SomeBy(s.members[person], func(id string) bool {
		m := s.byID[id]
		return m.Unit == r.Unit && m.From < r.Until && m.Until > min(r.From, now)
	})
}

// put adds a relation, or changes the times of the one with its id.
func (s *relations) put(r Relation, vouched []string) {
	_, known := s.byID[r.ID]
	s.byID[r.ID], s.vouched[r.ID] = r, vouched
	if known {
		return
	}
	switch r.Kind {
	case AdmittedTo:
		s.admitted[r.Patient] = append(s.admitted[r.Patient], r.ID)
		s.inUnit[r.Unit] = append(s.inUnit[r.Unit], r.ID)
	case MemberOf:
		s.members[r.Subject] = append(s.members[r.Subject], r.ID)
	default:
		if s.bySubject[r.Subject] == nil {
			s.bySubject[r.Subject] = map[string][]string{}
		}
		s.bySubject[r.Subject][r.Patient] = append(s.bySubject[r.Subject][r.Patient], r.ID)
	}
}

func (r Relation) at(now int64) bool { return r.From <= now && now < r.Until }

// between returns the running relations of a subject to a patient, and for whom
// the subject stands in. An admission and a membership of the same unit are the
// one pair that makes a relation; it ends with the first of them, and is none to
// whoever vouched for the admission and has come to work there since.
func (s *relations) between(subject, patient string, now int64) (out [relNumber]held, covered []string) {
	keep := func(kind int, until int64, id string) {
		if until > out[kind].until || (until == out[kind].until && id < out[kind].id) {
			out[kind] = held{until, id}
		}
	}
	for _, id := range s.bySubject[subject][patient] {
		r := s.byID[id]
		if !r.at(now) {
			continue
		}
		switch r.Kind {
		case Treats:
			keep(relTreats, r.Until, id)
		case GuardianOf:
			keep(relGuardian, r.Until, id)
		case CoversFor:
			keep(relCovers, r.Until, id)
			covered = append(covered, r.For)
		}
	}
	for _, member := range s.members[subject] {
		m := s.byID[member]
		if !m.at(now) {
			continue
		}
		for _, id := range s.admitted[patient] {
			if a := s.byID[id]; a.Unit == m.Unit && a.at(now) && !slices.Contains(s.vouched[id], subject) {
				keep(relAdmitted, min(a.Until, m.Until), id)
			}
		}
	}
	return out, covered
}

// patients returns about whom the subject has a running relation.
func (s *relations) patients(subject string, now int64, into map[string]struct{}) {
	for patient, ids := range s.bySubject[subject] {
		if slices.ContainsFunc(ids, func(id string) bool { return s.byID[id].at(now) }) {
			into[patient] = struct{}{}
		}
	}
	for _, member := range s.members[subject] {
		m := s.byID[member]
		if !m.at(now) {
			continue
		}
		for _, id := range s.inUnit[m.Unit] {
			if a := s.byID[id]; a.at(now) && !slices.Contains(s.vouched[id], subject) {
				into[a.Patient] = struct{}{}
			}
		}
	}
}
