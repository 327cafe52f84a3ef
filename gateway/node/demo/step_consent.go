package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// storyLife is how long the story's grants last, but for the one that ends.
const storyLife = 20 * time.Minute

// granted holds for what the doctor may read of the story's patient: vital signs
// and laboratory results that bear no label.
func granted(r *fhir.Resource, a policy.Resource) bool {
	return plainly(a) && (hasCategory(r, "vital-signs") || hasCategory(r, "laboratory"))
}

// denyDefault lets the doctor ask before anybody has granted anything.
func (t *tale) denyDefault(ctx context.Context) (string, error) {
	wanted, err := t.observations(storyReader, granted)
	if err != nil {
		return "", err
	}
	asked := append([]*fhir.Resource{t.cast.patients[storyReader]}, lo.Slice(wanted, 0, 5)...)
	for _, r := range asked {
		if err := t.refused(ctx, doctor, r); err != nil {
			return "", err
		}
	}
	found, err := t.as(doctor).search(ctx, "Observation", url.Values{"patient": {t.patient(storyReader)}})
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return "", fmt.Errorf("a search without a grant finds %d observations", len(found))
	}
	return fmt.Sprintf("%d reads answered as if nothing were there, and an empty search", len(asked)), nil
}

// grant lets the patient grant the doctor vital signs and laboratory results.
func (t *tale) grant(ctx context.Context) (string, error) {
	g, err := t.agree(ctx, storyReader, wish{
		Actors: []string{t.h.pocket.People[doctor].Ref}, Classes: []string{"Observation"},
		Categories: []string{"vital-signs", "laboratory"}, Purposes: []string{"TREAT"},
	}, storyLife)
	if err != nil {
		return "", err
	}
	a, err := t.as(storyReader).get(ctx, "/api/grants?patient="+url.QueryEscape("Patient/"+t.patient(storyReader)))
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK || !strings.Contains(string(a.body), g.id) {
		return "", a.unexpected("a list with grant " + g.id)
	}
	return fmt.Sprintf("grant %s until %s, signed by the patient's key, held by the custodians", g.id, g.until.Format("15:04:05 MST")), nil
}

// read lets the doctor read what was granted, and nothing else.
func (t *tale) read(ctx context.Context) (string, error) {
	wanted, err := t.observations(storyReader, granted)
	if err != nil {
		return "", err
	}
	if len(wanted) == 0 {
		return "", errors.New("nothing was granted")
	}
	begun := time.Now()
	for _, r := range wanted {
		if err := t.reads(ctx, doctor, r); err != nil {
			return "", err
		}
	}
	took := time.Since(begun)
	others, err := t.observations(storyReader, func(r *fhir.Resource, a policy.Resource) bool { return !granted(r, a) })
	if err != nil {
		return "", err
	}
	others = append(others, t.cast.patients[storyReader])
	for _, r := range others {
		if err := t.refused(ctx, doctor, r); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d observations equal their originals (%.1f ms each); %d other records stay hidden",
		len(wanted), took.Seconds()*1000/float64(len(wanted)), len(others)), nil
}

// search compares what the doctor finds with the same question put to the
// originals, cut to what was granted.
func (t *tale) search(ctx context.Context) (string, error) {
	wanted, err := t.observations(storyReader, granted)
	if err != nil {
		return "", err
	}
	middle := wanted[len(wanted)/2]
	code := fhir.Codings("code", middle)
	if len(code) == 0 {
		return "", fmt.Errorf("%s has no code", pathOf(middle))
	}
	day, err := dayOf(middle)
	if err != nil {
		return "", err
	}
	patient := t.patient(storyReader)
	results := 0
	questions := []url.Values{
		{"patient": {patient}, "code": {code[0].String()}},
		{"patient": {patient}, "code": {code[0].String()}, "date": {"ge" + day}},
		{"patient": {patient}, "date": {"ge2000-01-01", "lt" + day}},
		{"subject": {"Patient/" + patient}, "category": {"laboratory"}, "date": {"le" + day}},
		{"patient": {patient}, "_count": {"10"}},
	}
	for _, q := range questions {
		query, err := fhir.ParseQuery("Observation", q, fhir.QueryOptions{Base: t.h.base() + "/fhir"})
		if err != nil {
			return "", fmt.Errorf("search %s: %w", q.Encode(), err)
		}
		var want []*fhir.Resource
		for _, r := range wanted {
			match, err := fhir.Match(query, r)
			if err != nil {
				return "", fmt.Errorf("search %s: %w", q.Encode(), err)
			}
			if match {
				want = append(want, r)
			}
		}
		got, err := t.as(doctor).search(ctx, "Observation", q)
		if err != nil {
			return "", err
		}
		if err := sameSet(got, want); err != nil {
			return "", fmt.Errorf("search %s: %w", q.Encode(), err)
		}
		results += len(got)
	}
	if results == 0 {
		return "", errors.New("no search found anything")
	}
	return fmt.Sprintf("%d searches by patient, code, category and date find the same %d records as in the unsealed data", len(questions), results), nil
}

// dayOf is the day of an observation.
func dayOf(r *fhir.Resource) (string, error) {
	when, _ := r.Tree()["effectiveDateTime"].(string)
	if len(when) < len(time.DateOnly) {
		return "", fmt.Errorf("%s has no date", pathOf(r))
	}
	return when[:len(time.DateOnly)], nil
}

// roleLimits lets the patient grant nurses vital signs and surveys: what is
// labelled stays hidden although the grant's categories cover it.
func (t *tale) roleLimits(ctx context.Context) (string, error) {
	if _, err := t.agree(ctx, storyReader, wish{
		Actors: []string{"role:nurse"}, Classes: []string{"Observation"},
		Categories: []string{"vital-signs", "survey"}, Purposes: []string{"TREAT"},
	}, storyLife); err != nil {
		return "", err
	}
	covered := func(r *fhir.Resource) bool { return hasCategory(r, "vital-signs") || hasCategory(r, "survey") }
	want, err := t.observations(storyReader, func(r *fhir.Resource, a policy.Resource) bool { return covered(r) && plainly(a) })
	if err != nil {
		return "", err
	}
	mental, err := t.observations(storyReader, func(r *fhir.Resource, a policy.Resource) bool {
		return covered(r) && lo.Contains(a.Sens, policy.Coding(policy.SystemSensitivity, "MH"))
	})
	if err != nil {
		return "", err
	}
	if len(want) == 0 || len(mental) == 0 {
		return "", fmt.Errorf("the patient has %d plain records and %d labelled ones: nothing to tell apart", len(want), len(mental))
	}
	got, err := t.as(nurse).search(ctx, "Observation", url.Values{"patient": {t.patient(storyReader)}})
	if err != nil {
		return "", err
	}
	if err := sameSet(got, want); err != nil {
		return "", fmt.Errorf("the nurse's search: %w", err)
	}
	for _, r := range mental {
		if err := t.refused(ctx, nurse, r); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("the nurse gets %d vital signs and surveys, and none of %d surveys labelled mental health", len(got), len(mental)), nil
}
