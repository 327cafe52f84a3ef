package records_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/recordstest"
)

const (
	doctor  = "Practitioner/d1"
	nurse   = "Practitioner/n1"
	patient = "Patient/p1"
)

// observation is one of a patient's, with something in it that nobody should
// see.
func observation(t testing.TB, id, of string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":"Observation","id":%q,"status":"final",
		"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],
		"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}],"text":"Canary heart rate"},
		"subject":{"reference":%q,"display":"Canary Canarson"},"effectiveDateTime":"2026-01-02T03:04:05Z",
		"valueQuantity":{"value":72.50,"unit":"canaries/min"}}`, id, of), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// attributes are those of observation.
func attributes(r *fhir.Resource, of string) policy.Resource {
	return policy.Resource{
		Type: r.Type(), ID: r.ID(), Patient: of, Conf: "N",
		Codes:      []string{"http://loinc.org|8867-4"},
		Categories: []string{"http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"},
	}
}

const patience = 30 * time.Second

// ward is a hospital in which the doctor may read the patient's observation.
type ward struct {
	*recordstest.Hospital
	doctor   policy.Subject
	resource *fhir.Resource
	envelope *records.Envelope
}

// Its quorum has patience, for a busy machine is no custodian that is away.
// Tests of impatience say so in the options.
func newWard(t testing.TB, o recordstest.Options) *ward {
	t.Helper()
	if o.Quorum == nil {
		o.Quorum = func(c *records.QuorumConfig) { c.Timeout = patience }
	}
	w := &ward{Hospital: recordstest.New(t, o)}
	w.doctor = w.SignIn(doctor, "doctor")
	w.GrantTo(doctor, patient, time.Hour)
	w.resource = observation(t, "o1", patient)
	w.envelope = w.SealAs(w.resource, attributes(w.resource, patient), 1)
	return w
}

// opens checks that reading the ward's envelope gives the original, byte for
// byte.
func (w *ward) opens(t testing.TB) {
	t.Helper()
	got, err := w.Read(context.Background(), w.doctor, "TREAT", w.envelope)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || string(got[0].JSON()) != string(w.resource.JSON()) {
		t.Errorf("opened %s, want %s", got, w.resource.JSON())
	}
}

func TestWhatWasSealedOpensByteForByte(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.opens(t)
	second := observation(t, "o2", patient)
	sealed := w.SealAs(second, attributes(second, patient), 1)
	got, err := w.Read(t.Context(), w.doctor, "TREAT", sealed, w.envelope)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].ID() != "o2" || got[1].ID() != "o1" {
		t.Errorf("opened %v, want the order of the envelopes", got)
	}
	w.NoLie()
}

func TestOneCustodianAwayIsNotNoticed(t *testing.T) {
	for name, away := range map[string]func(*recordstest.Custodian){
		"asleep":  (*recordstest.Custodian).Sleep,
		"silent":  (*recordstest.Custodian).Hush,
		"stopped": (*recordstest.Custodian).Stop,
		"slow":    func(c *recordstest.Custodian) { c.Slow(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, recordstest.Options{})
			away(w.Custodians[1])
			started := time.Now()
			w.opens(t)
			w.opens(t)
			if took := time.Since(started); took >= patience {
				t.Errorf("two reads took %s: they waited for the one that is away", took)
			}
			w.NoLie()
		})
	}
}

func TestTwoCustodiansAwayOpenNothingAndSaySoInTime(t *testing.T) {
	for name, away := range map[string]func(*recordstest.Custodian){
		"asleep": (*recordstest.Custodian).Sleep,
		"silent": (*recordstest.Custodian).Hush,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout = time.Second }})
			opens := func() bool {
				_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
				return err == nil
			}
			w.Eventually(opens)
			away(w.Custodians[0])
			away(w.Custodians[3])
			for range 2 {
				started := time.Now()
				got, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
				if !errors.Is(err, records.ErrTooFewShares) || got != nil {
					t.Fatalf("Open() = %v, %v, want ErrTooFewShares", got, err)
				}
				if took := time.Since(started); took > 3*time.Second {
					t.Errorf("it took %s to say so", took)
				}
			}
			w.Custodians[0].Wake()
			w.Eventually(opens)
		})
	}
}

func TestLiarIsNamedAndRoutedAroundWithinTheSameRequest(t *testing.T) {
	for _, how := range recordstest.Falsehoods() {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			w := newWard(t, recordstest.Options{})
			w.opens(t)
			// The fourth keeps silent until the liar is found out, so that the
			// lie is among the first three answers.
			w.Custodians[3].Hush()
			w.Custodians[1].Lie(how)
			found := make(chan *records.CustodianError, 1)
			go func() {
				found <- w.Lie()
				w.Custodians[3].Wake()
			}()
			w.opens(t)
			if lie := <-found; lie.Custodian != 2 || !lie.Lied {
				t.Errorf("named %+v, want custodian 2", lie)
			}
			if s := w.Quorum.Status()[1]; s.Trusted {
				t.Errorf("status %+v, want it distrusted", s)
			}
			w.opens(t)
			// One who is honest again is still good for an answer.
			w.Custodians[1].Wake()
			w.Custodians[3].Sleep()
			w.Eventually(func() bool {
				_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
				return err == nil
			})
		})
	}
}

func TestTwoLiarsAreTooMany(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.opens(t)
	w.Custodians[0].Lie(recordstest.WrongPartial)
	w.Custodians[2].Lie(recordstest.GarbageBox)
	got, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
	if !errors.Is(err, records.ErrTooFewShares) || got != nil {
		t.Fatalf("Open() = %v, %v, want ErrTooFewShares", got, err)
	}
	if named := []int{w.Lie().Custodian, w.Lie().Custodian}; !slices.Contains(named, 1) || !slices.Contains(named, 3) {
		t.Errorf("named %v, want 1 and 3", named)
	}
}

func TestLiarHarmsNobodyElseInTheRound(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.Custodians[1].Lie(recordstest.WrongPartial)
	w.Custodians[3].Hush()
	found := make(chan *records.CustodianError, 1)
	go func() {
		found <- w.Lie()
		w.Custodians[3].Wake()
	}()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := w.Read(context.Background(), w.doctor, "TREAT", w.envelope); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if lie := <-found; lie.Custodian != 2 {
		t.Errorf("named %+v", lie)
	}
}

func TestRequestsInFlightShareACall(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.opens(t)
	var mu sync.Mutex
	most := 0
	w.Custodians[0].Watch(func(r *records.Round) {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, len(r.Releases))
	})
	for _, c := range w.Custodians {
		c.Hush()
	}
	const readers = 24
	var all sync.WaitGroup
	for range readers {
		o, e := w.Ask(w.doctor, "TREAT", w.envelope)
		receipts, err := w.Log.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if _, err := w.Quorum.Open(context.Background(), o, receipts[0]); err != nil {
				t.Error(err)
			}
		})
	}
	w.Eventually(func() bool { return w.Custodians[0].Calls() > 0 })
	for _, c := range w.Custodians {
		c.Wake()
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most < 2 {
		t.Errorf("no call carried more than %d release", most)
	}
}

func TestWritesAreFollowedWithoutAnybodyAsking(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.Eventually(func() bool {
		for _, s := range w.Quorum.Status() {
			if s.Size != w.Log.Size() || !s.Reachable || s.Lag != 0 {
				return false
			}
		}
		return true
	})
}

func TestCosignedWaitsForAQuorum(t *testing.T) {
	w := newWard(t, recordstest.Options{Quorum: func(c *records.QuorumConfig) { c.Timeout = 300 * time.Millisecond }})
	w.Eventually(func() bool { return w.Quorum.Cosigned(t.Context(), w.Log.Size()-1) == nil })
	w.Custodians[0].Sleep()
	w.Custodians[1].Sleep()
	grant := w.GrantTo(nurse, patient, time.Hour)
	if err := w.Quorum.Cosigned(t.Context(), w.Log.Size()-1); !errors.Is(err, records.ErrTooFewShares) {
		t.Fatalf("Cosigned() = %v with two custodians, want ErrTooFewShares", err)
	}
	w.Custodians[1].Wake()
	index := w.Withdraw(grant)
	w.Eventually(func() bool { return w.Quorum.Cosigned(t.Context(), index) == nil })
	w.NoLie()
}

func TestCustodianComesBackFromWhatItStored(t *testing.T) {
	w := newWard(t, recordstest.Options{Disk: true})
	w.opens(t)
	w.Custodians[2].Stop()
	for i := range 50 {
		r := observation(t, fmt.Sprintf("more-%d", i), fmt.Sprintf("Patient/more-%d", i))
		w.SealAs(r, attributes(r, fmt.Sprintf("Patient/more-%d", i)), 1)
	}
	w.opens(t)
	w.Custodians[2].Start()
	w.Custodians[0].Stop() // now it is needed
	w.Eventually(func() bool {
		_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		return err == nil
	})
}

func TestFarBehindCatchesUpInPieces(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	w.Custodians[3].Sleep()
	statement := make([]byte, 200<<10)
	for range 60 { // some 12 MB
		w.Append(chain.Entry{Kind: chain.Admin, Statement: statement})
	}
	rounds := 0
	var mu sync.Mutex
	w.Custodians[3].Watch(func(r *records.Round) {
		mu.Lock()
		defer mu.Unlock()
		if len(r.Batch.Records) > 0 {
			rounds++
		}
	})
	w.Custodians[3].Wake()
	w.Custodians[0].Stop()
	w.Eventually(func() bool {
		_, err := w.Read(t.Context(), w.doctor, "TREAT", w.envelope)
		return err == nil
	})
	mu.Lock()
	defer mu.Unlock()
	if rounds < 3 {
		t.Errorf("12 MB came in %d pieces", rounds)
	}
}

func TestClosedQuorumAnswersWhoWaits(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	for _, c := range w.Custodians {
		c.Hush()
	}
	o, e := w.Ask(w.doctor, "TREAT", w.envelope)
	receipts, err := w.Log.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.Quorum.Open(context.Background(), o, receipts[0])
		done <- err
	}()
	if err := w.Quorum.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, records.ErrClosed) && !errors.Is(err, records.ErrTooFewShares) {
		t.Errorf("Open() = %v, want ErrClosed", err)
	}
	if _, err := w.Quorum.Open(t.Context(), o, receipts[0]); !errors.Is(err, records.ErrClosed) {
		t.Errorf("Open() after Close = %v, want ErrClosed", err)
	}
}

func TestCallerWhoHangsUpGetsItsOwnError(t *testing.T) {
	w := newWard(t, recordstest.Options{})
	o, e := w.Ask(w.doctor, "TREAT", w.envelope)
	receipts, err := w.Log.Append(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Quorum.Open(ctx, o, receipts[0]); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Open() = %v, want context.Canceled", err)
	}
}
