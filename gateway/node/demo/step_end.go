package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

const (
	shortLife   = 3 * time.Second  // of the grant that ends before our eyes
	longestLife = 27 * time.Second // on the busiest machine
	unavailing  = 3 * time.Second  // at most so long may a caller wait for a 503
	catchUp     = 20 * time.Second // how long custodians that were away may take
)

// custodianLoss stops one custodian, then another, then starts both again.
func (t *tale) custodianLoss(ctx context.Context) (string, error) {
	wanted, err := t.observations(storyReader, granted)
	if err != nil {
		return "", err
	}
	record := wanted[0]
	if err := t.custodian(ctx, 4, "stop"); err != nil {
		return "", err
	}
	for _, r := range wanted[:min(3, len(wanted))] {
		if err := t.reads(ctx, doctor, r); err != nil {
			return "", fmt.Errorf("with one custodian stopped: %w", err)
		}
	}
	if err := t.custodian(ctx, 3, "stop"); err != nil {
		return "", err
	}
	var slowest time.Duration
	for _, where := range []string{pathOf(record), "/fhir/Observation?patient=" + url.QueryEscape(t.patient(storyReader))} {
		a, err := t.as(doctor).get(ctx, where)
		if err != nil {
			return "", fmt.Errorf("with two custodians stopped: %w", err)
		}
		switch {
		case a.status != http.StatusServiceUnavailable:
			return "", fmt.Errorf("with two custodians stopped: %w", a.unexpected("503"))
		case a.header.Get("Retry-After") == "":
			return "", fmt.Errorf("%s says nothing about trying again", a)
		case a.took > unavailing:
			return "", fmt.Errorf("%s took %.1f s", a, a.took.Seconds())
		case bytes.Contains(a.body, []byte(record.ID())):
			return "", fmt.Errorf("%s shows a record", a)
		}
		slowest = max(slowest, a.took)
	}
	for _, n := range []int{3, 4} {
		if err := t.custodian(ctx, n, "start"); err != nil {
			return "", err
		}
	}
	back, err := t.caughtUp(ctx)
	if err != nil {
		return "", err
	}
	if err := t.reads(ctx, doctor, record); err != nil {
		return "", fmt.Errorf("with all custodians back: %w", err)
	}
	return fmt.Sprintf("with 3 of 4 custodians it opens, with 2 nothing does (503 after %.0f ms); restarted, they caught up in %.0f ms",
		slowest.Seconds()*1000, back.Seconds()*1000), nil
}

// custodian stops or starts one through the admin listener.
func (t *tale) custodian(ctx context.Context, n int, act string) error {
	side := caller{http: t.all.http, base: t.h.adminURL()}
	a, err := side.post(ctx, "/demo/custodians/"+strconv.Itoa(n)+"/"+act, nil, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.unexpected("200")
	}
	return nil
}

// caughtUp waits until every custodian holds every entry there was when it was
// called.
func (t *tale) caughtUp(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	begun := time.Now()
	size := t.h.gateway.Log.Size()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		behind := 0
		for _, s := range t.h.gateway.Quorum.Status() {
			if s.Size < size {
				behind++
			}
		}
		if behind == 0 {
			return time.Since(begun), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d custodians have not caught up after %s", behind, catchUp)
		case <-tick.C:
		}
	}
}

// expiry lets a short grant end while the doctor is reading, and then shows that
// the end does not depend on the gateway. On a machine so busy that the grant is
// over before anything was read, it tries longer ones.
func (t *tale) expiry(ctx context.Context) (string, error) {
	record, err := t.vital(storyExpiry)
	if err != nil {
		return "", err
	}
	for life := shortLife; ; life *= 3 {
		g, err := t.agree(ctx, storyExpiry, t.vitals(), life)
		if err != nil {
			return "", err
		}
		theft, err := t.beforeTheEnd(ctx, record, g)
		if err != nil && !time.Now().Before(g.until) && life < longestLife {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("before the end: %w", err)
		}
		if err := sleepUntil(ctx, g.until); err != nil {
			return "", err
		}
		if err := t.refused(ctx, doctor, record); err != nil {
			return "", fmt.Errorf("after the end: %w", err)
		}
		opened, err := NewRogue(t.h.gateway).Steal(ctx, theft)
		if err := refusedFor(opened, err, policy.Expired); err != nil {
			return "", fmt.Errorf("after the end: %w", err)
		}
		return fmt.Sprintf("read until %s and not after; a gateway that skips its own check was refused by the custodians: %s",
			g.until.Format("15:04:05"), policy.Expired), nil
	}
}

// beforeTheEnd reads as the doctor, and as a rogue gateway. The rogue must be one
// that could: while the grant lasts it gets what the honest gateway gets, so that
// what stops it later is the end and nothing else.
func (t *tale) beforeTheEnd(ctx context.Context, record *fhir.Resource, g consent) (Theft, error) {
	if err := t.reads(ctx, doctor, record); err != nil {
		return Theft{}, err
	}
	theft, err := t.theft(ctx, storyExpiry, record, g)
	if err != nil {
		return Theft{}, err
	}
	opened, err := NewRogue(t.h.gateway).Steal(ctx, theft)
	if err != nil {
		return Theft{}, fmt.Errorf("the rogue gateway is not given what the honest one is: %w", err)
	}
	return theft, same(opened, record)
}

// withdraw lets the patient withdraw a second grant.
func (t *tale) withdraw(ctx context.Context) (string, error) {
	record, err := t.vital(storyWithdraw)
	if err != nil {
		return "", err
	}
	g, err := t.agree(ctx, storyWithdraw, t.vitals(), storyLife)
	if err != nil {
		return "", err
	}
	if err := t.reads(ctx, doctor, record); err != nil {
		return "", fmt.Errorf("before the withdrawal: %w", err)
	}
	theft, err := t.theft(ctx, storyWithdraw, record, g)
	if err != nil {
		return "", err
	}
	begun := time.Now()
	if err := t.revoke(ctx, storyWithdraw, g); err != nil {
		return "", err
	}
	took := time.Since(begun)
	if err := t.refused(ctx, doctor, record); err != nil {
		return "", fmt.Errorf("after the withdrawal: %w", err)
	}
	opened, err := NewRogue(t.h.gateway).Steal(ctx, theft)
	if err := refusedFor(opened, err, policy.Withdrawn, policy.NoConsent, policy.NoGrant); err != nil {
		return "", fmt.Errorf("after the withdrawal: %w", err)
	}
	return fmt.Sprintf("withdrawn in %.0f ms; the next read is refused, by the custodians too", took.Seconds()*1000), nil
}

// vitals is a wish that the doctor may read vital signs.
func (t *tale) vitals() wish {
	return wish{
		Actors: []string{t.h.pocket.People[doctor].Ref}, Classes: []string{"Observation"},
		Categories: []string{"vital-signs"}, Purposes: []string{"TREAT"},
	}
}

// vital is a vital sign of the patient with the given part.
func (t *tale) vital(part string) (*fhir.Resource, error) {
	found, err := t.observations(part, func(r *fhir.Resource, a policy.Resource) bool {
		return plainly(a) && hasCategory(r, "vital-signs")
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("the patient has no vital signs")
	}
	return found[0], nil
}

// theft is what a rogue gateway would claim so as to read the record as the
// doctor, who is signed in: it takes the session from the doctor's last access.
func (t *tale) theft(ctx context.Context, part string, record *fhir.Resource, g consent) (Theft, error) {
	last, err := t.last(doctor)
	if err != nil {
		return Theft{}, err
	}
	body, err := t.h.gateway.Log.Body(ctx, last)
	if err != nil {
		return Theft{}, fmt.Errorf("the doctor's last entry: %w", err)
	}
	return Theft{
		SignIn: body.SignIn, Actor: body.Actor, Role: body.Role, Purpose: "TREAT", Scopes: clinicScopes(),
		Record: fhir.Ref{Type: record.Type(), ID: record.ID()}, Patient: "Patient/" + t.patient(part), Grants: []string{g.id},
	}, nil
}

// last is the last entry that a person was told of.
func (t *tale) last(login string) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.seen) - 1; i >= 0; i-- {
		if t.seen[i].who == login && t.seen[i].granted {
			return t.seen[i].index, nil
		}
	}
	return 0, fmt.Errorf("%s has read nothing yet", login)
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at) + 10*time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of the grant: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}
