package chain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

func TestABatchFromTheFutureIsNotTakenOver(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	now := began
	s := chaintest.NewSetup(t, "log", 0)
	s.Now = func() time.Time { return now }
	l := s.Open(t, chaintest.NewStore())
	for name, tc := range map[string]struct {
		maxAhead, ahead time.Duration
		taken           bool
	}{
		"half a minute":         {0, 30 * time.Second, true},
		"a millisecond more":    {0, 30*time.Second + time.Millisecond, false},
		"a day":                 {0, 24 * time.Hour, false},
		"more than is allowed":  {time.Second, 2 * time.Second, false},
		"less than is allowed":  {time.Hour, 59 * time.Minute, true},
		"the replica is behind": {0, -time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			newest, err := l.Body(t.Context(), l.Size()-1)
			if err != nil {
				t.Fatal(err)
			}
			now = newest.At()
			chaintest.Append(t, l, chaintest.Entry("Patient/a"), chaintest.Entry("Patient/b"))
			own := now.Add(-tc.ahead)
			store := chaintest.NewStore()
			r, err := chain.OpenReplica(t.Context(), chain.ReplicaConfig{
				Store: store, Verifier: s.Verifier, MaxAhead: tc.maxAhead, Now: func() time.Time { return own },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			err = extend(t.Context(), l, r, next(t, l, 0, 0))
			if tc.taken {
				if err != nil || r.Size() != l.Size() {
					t.Fatalf("Extend() = %v", err)
				}
				return
			}
			future, ok := errors.AsType[*chain.FutureError](err)
			if !ok || future.Index != l.Size()-1 || !future.Time.Equal(now) || !future.Now.Equal(own) {
				t.Fatalf("Extend() = %v", err)
			}
			if r.Size() != 0 || store.Size() != 0 || r.KeyCount() != 0 {
				t.Errorf("it kept %d entries and %d keys", store.Size(), r.KeyCount())
			}
			own = now // its clock has come that far
			if err := extend(t.Context(), l, r, next(t, l, 0, 0)); err != nil {
				t.Errorf("Extend() later = %v", err)
			}
		})
	}
}

// Two readings that disagree: the wall clock and the monotonic one of a machine.
func TestAClockThatJumpsForwardStopsTheLogUntilItIsSetRight(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	var passed, set time.Duration
	s, store := chaintest.NewSetup(t, "log", 0), chaintest.NewStore()
	c := s.Config(store)
	c.Now = func() time.Time { return began.Add(passed + set) }
	c.Elapsed = func() time.Duration { return time.Hour + passed }
	l, err := chain.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		passes, set time.Duration
		stops       bool
	}{
		{0, 0, false},
		{time.Hour, 0, false},                  // nobody wrote anything for an hour
		{time.Second, 20 * time.Second, false}, // set right by a little
		{time.Second, 51 * time.Second, true},
		{time.Second, 24 * time.Hour, true},
		{time.Second, 24 * time.Hour, true}, // it does not get used to it
		{time.Second, 45 * time.Second, false},
		{time.Second, -time.Hour, false}, // back: the log's time stands still
		{time.Second, 45 * time.Second, false},
		{time.Second, 76 * time.Second, true},
	} {
		passed, set = passed+step.passes, step.set
		size := l.Size()
		_, err := l.Append(t.Context(), chaintest.Entry("Patient/a"))
		if stopped := errors.Is(err, chain.ErrUnavailable) && errors.Is(err, chain.ErrClock); stopped != step.stops || err != nil && !stopped {
			t.Errorf("set by %s: Append() = %v", step.set, err)
		}
		if err != nil && (l.Size() != size || !strings.Contains(err.Error(), "clock")) {
			t.Errorf("set by %s: %v, and the log grew by %d", step.set, err, l.Size()-size)
		}
	}
	// Whoever opens it again says that the clock is right.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = chain.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
}
