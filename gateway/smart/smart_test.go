package smart_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/recordstest"
)

// desk is where people sign in: real sessions on a real log with custodians.
type desk struct {
	*recordstest.Hospital
	*smart.Sessions
	t testing.TB
}

func newDesk(t testing.TB, edit ...func(*smart.Config)) *desk {
	t.Helper()
	h := recordstest.New(t, recordstest.Options{})
	c := smart.Config{Trust: h.Trust, State: h.State, Log: h.Log, Quorum: h.Quorum, Now: h.Clock.Now}
	for _, e := range edit {
		e(&c)
	}
	s, err := smart.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{h, s, t}
}

func (d *desk) signIn(person string, scope []string, roles ...string) (string, *smart.Session, error) {
	d.t.Helper()
	client := recordstest.ClientPortal
	if len(roles) > 0 {
		client = recordstest.ClientEHR
	}
	start, err := d.Begin(client)
	if err != nil {
		d.t.Fatal(err)
	}
	var signature []byte
	if _, enrolled := d.State.Key(person); enrolled {
		signature = ed25519.Sign(d.Key(person), policy.SignInMessage(start.Nonce))
	}
	return d.Complete(context.Background(), client, start.Session, d.Issuer.IDToken(d.t, person, start.Nonce, roles...), scope, signature)
}

func TestASessionIsWhoTheLogSaysItIs(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token, session, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	logged, ok := d.State.Session(session.Subject.SignIn)
	if !ok || fmt.Sprint(logged) != fmt.Sprint(session.Subject) {
		t.Errorf("session %+v, log %+v", session.Subject, logged)
	}
	if session.Default != "TREAT" || !slices.Contains(session.Purposes, "TREAT") || !slices.Equal(session.Scope, []string{"user/*.rs"}) || session.Patient() != "" {
		t.Errorf("%+v", session)
	}
	if again, err := d.Token(token); err != nil || again != session {
		t.Errorf("%v %v", again, err)
	}
	_, patient, err := d.signIn("Patient/p1", nil)
	if err != nil || patient.Patient() != "p1" || patient.Default != "PATRQT" {
		t.Errorf("%+v %v", patient, err)
	}
}

// TestAPatientWithAKeySignsInWithThatKeyAlone: whoever takes over the identity
// provider does not thereby become a patient who has a key.
func TestAPatientWithAKeySignsInWithThatKeyAlone(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if _, _, err := d.signIn("Patient/p1", nil); err != nil {
		t.Fatalf("before there is a key: %v", err)
	}
	key, other := d.Key("Patient/p1"), d.Key("Patient/p2")
	size := d.Log.Size()
	for name, sign := range map[string]func(nonce string) []byte{
		"nothing":               func(string) []byte { return nil },
		"another's key":         func(nonce string) []byte { return ed25519.Sign(other, policy.SignInMessage(nonce)) },
		"another session's":     func(string) []byte { return ed25519.Sign(key, policy.SignInMessage("another")) },
		"the nonce by itself":   func(nonce string) []byte { return ed25519.Sign(key, []byte(nonce)) },
		"a signature cut short": func(nonce string) []byte { return ed25519.Sign(key, policy.SignInMessage(nonce))[:63] },
	} {
		start, err := d.Begin(recordstest.ClientPortal)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = d.Complete(t.Context(), recordstest.ClientPortal, start.Session, d.Issuer.IDToken(t, "Patient/p1", start.Nonce), nil, sign(start.Nonce))
		if !errors.Is(err, smart.ErrSignIn) {
			t.Errorf("%s: %v, want ErrSignIn", name, err)
		}
	}
	if d.Log.Size() != size {
		t.Error("a refused sign-in is in the log")
	}
	if _, session, err := d.signIn("Patient/p1", nil); err != nil || session.Patient() != "p1" {
		t.Errorf("with the key: %v", err)
	}
}

func TestTheStateRemembersNoTokens(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token, session, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) != 32 {
		t.Errorf("a token of %d bytes", len(raw))
	}
	sum := sha256.Sum256([]byte(token))
	dump := fmt.Sprintf("%+v %+v", d.Sessions, session)
	if strings.Contains(dump, token) {
		t.Error("the token is kept")
	}
	if !strings.Contains(dump, strings.Trim(fmt.Sprint(sum), "[]")) {
		t.Error("its hash is not: the test looks in the wrong place")
	}
}

func TestScopesAreNarrowedNeverWidened(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for asked, want := range map[string]string{
		"": "user/*.rs", "user/*.rs": "user/*.rs", "user/Observation.r": "user/Observation.r", "user/*.cruds user/Patient.rs": "user/*.rs user/Patient.rs",
		"user/*.rs user/*.rs": "user/*.rs", "user/*.cruds": "user/*.rs", "user/Observation.read": "user/Observation.rs", "user/*.*": "user/*.rs", "openid user/*.s": "user/*.s",
		"user/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory": "user/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
	} {
		_, session, err := d.signIn("Practitioner/d1", strings.Fields(asked), "doctor")
		if err != nil || strings.Join(session.Scope, " ") != want {
			t.Errorf("%q: %v %v, want %q", asked, session, err, want)
		}
	}
	for _, asked := range []string{
		"system/*.rs", "patient/*.rs", "user/*.cud", "user/Observation.rs?category:not=x", "user/*.rs user/Observation.rs?category:not=x", "nonsense", "user/Nothing.r", "user/%2a.rs", "openid",
	} {
		if _, _, err := d.signIn("Practitioner/d1", strings.Fields(asked), "doctor"); !errors.Is(err, smart.ErrScope) {
			t.Errorf("%q: %v", asked, err)
		}
	}
}

func TestASessionsIdBindsItsClientAndItsTimes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	start, err := d.Begin(recordstest.ClientPortal)
	if err != nil {
		t.Fatal(err)
	}
	id, err := base64.RawURLEncoding.DecodeString(start.Session)
	if err != nil {
		t.Fatal(err)
	}
	for i := range id {
		forged := slices.Clone(id)
		forged[i] ^= 1
		session := base64.RawURLEncoding.EncodeToString(forged)
		nonce := policy.SessionNonce(session, recordstest.ClientPortal, start.End.UnixMilli())
		_, _, err := d.Complete(t.Context(), recordstest.ClientPortal, session, d.Issuer.IDToken(t, "Patient/p1", nonce), nil, nil)
		if !errors.Is(err, smart.ErrSignIn) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if _, err := d.Begin("nobody"); !errors.Is(err, smart.ErrClient) {
		t.Errorf("%v", err)
	}
}

func TestNoSessionOutlivesItsEnd(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token, session, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	left := session.End.Sub(d.Clock.Now())
	d.Clock.Move(left - time.Second)
	if _, err := d.Token(token); err != nil {
		t.Errorf("a second before: %v", err)
	}
	d.Clock.Move(time.Second)
	if _, err := d.Token(token); !errors.Is(err, smart.ErrToken) {
		t.Errorf("at its end: %v", err)
	}
}

func TestThereAreAtMostSoManySessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(c *smart.Config) { c.Sessions = 2 })
	for range 2 {
		if _, _, err := d.signIn("Patient/p1", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.signIn("Patient/p1", nil); !errors.Is(err, smart.ErrTooMany) {
		t.Errorf("%v", err)
	}
	d.Clock.Move(2 * time.Hour) // the others have ended, and make room
	if _, _, err := d.signIn("Patient/p1", nil); err != nil {
		t.Errorf("%v", err)
	}
}

// racing is a log in which somebody else's sign-in by the same token comes first.
type racing struct {
	*chain.Log
	before func()
}

func (r *racing) Append(ctx context.Context, entries ...chain.Entry) ([]chain.Receipt, error) {
	if f := r.before; f != nil {
		r.before = nil
		f()
	}
	return r.Log.Append(ctx, entries...)
}

func TestOfTwoSignInsByOneTokenOneHasEffect(t *testing.T) {
	t.Parallel()
	log := &racing{}
	d := newDesk(t, func(c *smart.Config) {
		log.Log = c.Log.(*chain.Log)
		c.Log = log
	})
	start, err := d.Begin(recordstest.ClientPortal)
	if err != nil {
		t.Fatal(err)
	}
	token := d.Issuer.IDToken(t, "Patient/p1", start.Nonce)
	var first error
	log.before = func() {
		_, _, first = d.Complete(t.Context(), recordstest.ClientPortal, start.Session, token, nil, nil)
	}
	_, _, second := d.Complete(t.Context(), recordstest.ClientPortal, start.Session, token, nil, nil)
	if first != nil || !errors.Is(second, smart.ErrSignIn) {
		t.Errorf("first %v, second %v", first, second)
	}
}

func TestTokensAreLookedUpAndRevokedConcurrently(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	token, _, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				_, _ = d.Token(token)
			}
		})
	}
	all.Go(func() {
		if err := d.Revoke(context.Background(), token); err != nil {
			t.Error(err)
		}
	})
	all.Wait()
	if _, err := d.Token(token); !errors.Is(err, smart.ErrToken) {
		t.Errorf("%v", err)
	}
}

func TestNonsenseIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	if _, err := smart.New(smart.Config{}); err == nil {
		t.Error("sessions without a log")
	}
	d := newDesk(t)
	if _, err := smart.New(smart.Config{Trust: d.Trust, State: d.State, Log: d.Log, Quorum: d.Quorum, Begun: -1}); err == nil {
		t.Error("a negative limit")
	}
}

func FuzzNoTokenIsGuessed(f *testing.F) {
	d := newDesk(f)
	token, _, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("A", 1<<16), token[:42], token + "=", " " + token, strings.ToUpper(token)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, guess string) {
		if session, err := d.Token(guess); guess != token && (err == nil || session != nil) {
			t.Errorf("%q is a token", guess)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	d := newDesk(b)
	token, _, err := d.signIn("Practitioner/d1", nil, "doctor")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.Token(token); err != nil {
			b.Fatal(err)
		}
	}
}
