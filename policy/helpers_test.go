package policy_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

func newEngine(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := policy.NewEngine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func sign(key string, message []byte) []byte { return ed25519.Sign(policytest.Key(key), message) }

// allScopes are scopes that stand in nobody's way.
var allScopes = []string{"user/*.cruds", "patient/*.cruds", "system/*.cruds"}

// pulse is an ordinary vital sign of a patient.
func pulse(patient string) policy.Resource {
	return policy.Resource{
		Type: "Observation", ID: "pulse", Patient: patient, Conf: "N",
		Codes:      []string{policy.Coding(policy.SystemLOINC, "8867-4")},
		Categories: []string{policy.Coding(policy.SystemObservationCategory, "vital-signs")},
		From:       time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC).UnixMilli(),
		To:         time.Date(2026, 11, 20, 8, 0, 1, 0, time.UTC).UnixMilli(),
	}
}

// vitals is a grant of a patient's vital signs to a doctor for an hour.
func vitals(t testing.TB, h *policytest.Hospital, patient, doctor string) policy.Grant {
	t.Helper()
	g, err := policy.Preview(policy.GrantRequest{
		Patient: patient, Actors: []policy.GrantActor{{Ref: doctor}}, Classes: []string{"Observation"}, Categories: []string{"vital-signs"},
		Purposes: []string{"TREAT"}, Until: h.Now.Add(time.Hour).Format(time.RFC3339),
	}, h.Now)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func hmacSHA256(key []byte, message string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}
