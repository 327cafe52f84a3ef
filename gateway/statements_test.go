package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

func TestARefusedStatementIsInTheLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p1, p2 := s.signIn("Patient/p1"), s.signIn("Patient/p2")
	key := s.Key("Patient/p1")
	preview := s.preview(p1, "Patient/p1")
	grant := preview.object(t)["grant"].(map[string]any)
	good := signatureOf(key, policy.GrantMessage(digestOf(t, preview)))
	tampered := map[string]any{}
	s.check(json.Unmarshal(lo.Must(json.Marshal(grant)), &tampered))
	tampered["purposes"] = []string{policy.SystemPurpose + "|TREAT", policy.SystemPurpose + "|HRESCH"}
	post := func(path, token string, body any) asking {
		return asking{method: "POST", path: "/api/" + path, token: token, body: body}
	}
	granted := s.do(post("grants", p1, map[string]any{"grant": grant, "signature": good}))
	if granted.status != http.StatusCreated {
		t.Fatal(granted)
	}
	id := granted.object(t)["id"].(string)
	for name, tc := range map[string]struct {
		ask    asking
		status int
		action string
		says   string
	}{
		"a foreign patient's preview": {post("grants/preview", p2, map[string]any{"patient": "p1", "actors": []string{"Practitioner/d1"}, "purposes": []string{"TREAT"}, "until": "2030-01-01T00:00:00Z"}), 403, "grant", "not allowed"},
		"a foreign patient's list":    {asking{method: "GET", path: "/api/grants?patient=p1", token: p2}, 403, "grant", "not allowed"},
		"a tampered grant":            {post("grants", p1, map[string]any{"grant": tampered, "signature": good}), 422, "grant", "statement"},
		"a forged signature":          {post("grants/"+id+"/withdraw", p1, map[string]string{"signature": good}), 422, "withdraw", "signature"},
		"another's withdrawal":        {post("grants/"+id+"/withdraw", p2, map[string]string{"signature": good}), 404, "withdraw", "not exist"},
		"a relation nobody may make":  {post("relations", p1, map[string]any{"relation": map[string]any{"v": 1, "id": "r-12345678", "kind": "treats", "subject": "Practitioner/d1", "patient": "Patient/p1", "from": 1, "until": 2000000000000, "issued": 1}, "signatures": []any{map[string]string{"signer": "nobody", "value": good}}}), 422, "relation", "statement"},
		"a key without the provider":  {post("enrol", p2, map[string]string{"person": "Patient/p2", "key": "AAAA", "token": "canary"}), 422, "enrol", "statement"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.do(tc.ask)
			if a.status != tc.status || !strings.Contains(string(a.body), tc.says) || strings.Contains(string(a.body), "canary") || strings.Contains(string(a.body), "cannot be stored") {
				t.Errorf("%v, want %d saying %q", a, tc.status, tc.says)
			}
			if len(a.entries(t)) != 1 {
				t.Fatalf("entries %v", a.entries(t))
			}
			b := s.body(a.entries(t)[0])
			if b.Kind != chain.Deny || b.Action != tc.action || b.Decision != "deny" || !strings.HasPrefix(b.Actor, "Patient/") {
				t.Errorf("entry %+v", b.Entry)
			}
		})
	}
}

func TestWhatIsSentAgainIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	token, key := s.signIn("Patient/p1"), s.Key("Patient/p1")
	preview := s.preview(token, "p1") // the bare id is the patient's too
	if preview.status != 200 {
		t.Fatal(preview)
	}
	digest := digestOf(t, preview)
	give := asking{method: "POST", path: "/api/grants", token: token, body: map[string]any{
		"grant": preview.object(t)["grant"], "signature": signatureOf(key, policy.GrantMessage(digest)),
	}}
	first := s.do(give)
	size := s.Log.Size()
	second := s.do(give)
	if first.status != 201 || second.status != 200 || string(first.body) != string(second.body) || s.Log.Size() != size {
		t.Errorf("granted %v, again %v", first, second)
	}
	withdraw := asking{method: "POST", path: "/api/grants/" + first.object(t)["id"].(string) + "/withdraw", token: token,
		body: map[string]string{"signature": signatureOf(key, policy.WithdrawMessage(digest))}}
	once := s.do(withdraw)
	s.Clock.Move(time.Minute)
	for range 3 {
		s.get(s.doctor, "/fhir/Observation/o1") // the log goes on
	}
	size = s.Log.Size()
	twice := s.do(withdraw)
	if once.status != 200 || twice.status != 200 || s.Log.Size() != size {
		t.Fatalf("withdrawn %v, again %v", once, twice)
	}
	if entry := once.object(t)["entry"]; entry != twice.object(t)["entry"] || s.body(uint64(entry.(float64))).Kind != chain.Withdraw {
		t.Errorf("%v and %v", once, twice)
	}
	end, err := time.Parse(time.RFC3339, once.object(t)["final"].(string))
	at := s.body(uint64(once.object(t)["entry"].(float64))).At()
	if err != nil || end.Before(at.Add(30*time.Second)) || end.After(at.Add(32*time.Second)) {
		t.Errorf("final at %s, withdrawn at %s", end, at)
	}
	if a := s.do(give); a.status != 422 {
		t.Errorf("a withdrawn grant comes back: %v", a)
	}
	forged := withdraw
	forged.body = map[string]string{"signature": signatureOf(key, policy.GrantMessage(digest))}
	if a := s.do(forged); a.status != 422 {
		t.Errorf("withdrawn again by anybody: %v", a)
	}
}

func TestARelationIsSignedUnderEitherNameAndHasNotEnded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	make := func(field string, until time.Duration, change ...string) reply {
		in := map[string]string{
			"kind": "treats", "subject": "Practitioner/d4", "patient": "p1",
			"from": s.Clock.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "until": s.Clock.Now().Add(until).UTC().Format(time.RFC3339),
		}
		for i := 0; i+1 < len(change); i += 2 {
			in[change[i]] = change[i+1]
		}
		preview := s.do(asking{method: "POST", path: "/api/relations/preview", token: s.doctor, body: in})
		if preview.status != 200 {
			t.Fatal(preview)
		}
		return s.do(asking{method: "POST", path: "/api/relations", body: map[string]any{
			"relation":   preview.object(t)["relation"],
			"signatures": []any{map[string]string{"signer": "adt", field: signatureOf(s.ADT, policy.RelationMessage(digestOf(t, preview)))}},
		}})
	}
	if a := make("value", -time.Minute); a.status != 422 || !strings.Contains(string(a.body), "ended") {
		t.Errorf("ended already: %v", a)
	}
	for _, field := range []string{"value", "signature"} {
		if a := make(field, time.Hour); a.status != 201 {
			t.Errorf("%s: %v", field, a)
		}
	}
	a := s.do(asking{method: "POST", path: "/api/relations", token: s.doctor, body: map[string]any{
		"relation": map[string]any{}, "signatures": []any{map[string]string{"signer": "adt", "value": "AA", "signature": "AA"}},
	}})
	if a.status != 400 {
		t.Errorf("two signatures in one: %v", a)
	}
}
