package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// enrol answers POST /api/enrol: a key becomes a person's, by the identity
// provider's word about exactly this key, or two registrars'. Replacing a key
// takes the old one's signature.
func (g *Gateway) enrol(ctx context.Context, k *call) (int, any, error) {
	var in struct {
		Person     string     `json:"person"`
		Key        string     `json:"key"`
		Token      string     `json:"token"`
		Previous   string     `json:"previous"`
		Registrars []signedBy `json:"registrars"`
	}
	if err := strictJSON(k.body, &in); err != nil {
		return 0, nil, err
	}
	statement := policy.Enrolment{Person: in.Person, Token: in.Token}
	var err error
	if statement.Key, err = decode64(in.Key); err != nil {
		return 0, nil, err
	}
	if in.Previous != "" {
		if statement.Previous, err = decode64(in.Previous); err != nil {
			return 0, nil, err
		}
	}
	if len(in.Registrars) > 0 {
		if statement.Registrars, err = signatures(in.Registrars); err != nil {
			return 0, nil, err
		}
	}
	e := k.entryBy(chain.Enrol, patientOrNone(in.Person), statement.Encode())
	if e.Actor == "" {
		e.Actor = in.Person
	}
	index, err := g.state(ctx, k, e)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, map[string]any{"person": in.Person, "entry": index}, nil
}

// patientOrNone is the patient in whose history an entry about the person
// belongs; the tenant's for everybody else.
func patientOrNone(person string) string {
	if strings.HasPrefix(person, "Patient/") {
		return person
	}
	return ""
}
