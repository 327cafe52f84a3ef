package demo

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// A tale is the story while it is played: who is there, and what has happened
// that the audit must find again.
type tale struct {
	h      *Hospital
	cast   *cast
	tokens sessions
	all    caller    // the gateway, without a token
	out    io.Writer // where progress is shown

	grants      int // that the story's patients have made
	withdrawals int

	mu   sync.Mutex // guards seen
	seen []sighting
}

// A sighting is an answer that came with an entry number: what the log must say
// happened.
type sighting struct {
	who     string // login
	index   uint64
	path    string
	granted bool // 200, not 404
}

// steps is the story, in order.
func (t *tale) steps() []step {
	return []step{
		{"seal", t.seal},
		{"ciphertext-only", t.ciphertextOnly},
		{"deny-default", t.denyDefault},
		{"grant", t.grant},
		{"read", t.read},
		{"search", t.search},
		{"role-limits", t.roleLimits},
		{"custodian-loss", t.custodianLoss},
		{"expiry", t.expiry},
		{"withdraw", t.withdraw},
		{"audit-verify", t.auditVerify},
		{"tamper-found", t.tamperFound},
	}
}

// as is the gateway as one of the people reaches it; what it answers to them is
// remembered for the audit.
func (t *tale) as(login string) caller {
	c := t.all.as(t.tokens[login])
	if login == loader {
		return c // thousands of writes; the seal step counts them itself
	}
	c.saw = func(a answer) {
		if !strings.HasPrefix(a.path, "/fhir/") || (a.status != http.StatusOK && a.status != http.StatusNotFound) {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, index := range a.entries() {
			t.seen = append(t.seen, sighting{who: login, index: index, path: a.path, granted: a.status == http.StatusOK})
		}
	}
	return c
}

// patient is the id of the patient with the given part.
func (t *tale) patient(part string) string { return t.cast.patients[part].ID() }

// observations are a patient's, as they were before sealing, that pass the test.
func (t *tale) observations(part string, test func(*fhir.Resource, policy.Resource) bool) ([]*fhir.Resource, error) {
	var out []*fhir.Resource
	for _, r := range t.cast.of(t.patient(part), "Observation") {
		a, err := described(r)
		if err != nil {
			return nil, err
		}
		if test(r, a) {
			out = append(out, r)
		}
	}
	return out, nil
}

// plainly holds for records that no label withholds from an ordinary grant.
func plainly(a policy.Resource) bool { return a.Conf == "N" && len(a.Sens) == 0 }

// A consent is a grant as the patient made it.
type consent struct {
	id     string
	digest [32]byte
	until  time.Time
}

// wish is what a patient asks for in a grant.
type wish struct {
	Patient    string   `json:"patient"`
	Actors     []string `json:"actors"`
	Classes    []string `json:"classes"`
	Categories []string `json:"categories"`
	Purposes   []string `json:"purposes"`
	Until      string   `json:"until"`
}

// agree lets the patient with the given part make a grant as their own software
// would: preview it, see that the digest is that of what is shown, sign, send.
func (t *tale) agree(ctx context.Context, part string, w wish, life time.Duration) (consent, error) {
	until := time.Now().Add(life).UTC().Truncate(time.Second).Add(time.Second)
	w.Patient, w.Until = "Patient/"+t.patient(part), until.Format(time.RFC3339)
	c := t.as(part)
	var preview struct {
		Grant    json.RawMessage `json:"grant"`
		Digest   string          `json:"digest"`
		Sentence policy.Sentence `json:"sentence"`
	}
	a, err := c.post(ctx, "/api/grants/preview", w, &preview)
	if err != nil {
		return consent{}, err
	}
	if a.status != http.StatusOK {
		return consent{}, a.unexpected("a preview")
	}
	var g policy.Grant
	if err := json.Unmarshal(preview.Grant, &g); err != nil {
		return consent{}, fmt.Errorf("previewed grant: %w", err)
	}
	digest := policy.Statement{Grant: g, Sentence: preview.Sentence}.Digest()
	if base64url(digest[:]) != preview.Digest {
		return consent{}, errors.New("the digest shown is not that of the grant and its sentence")
	}
	if preview.Sentence.EN == "" || preview.Sentence.ZH == "" {
		return consent{}, errors.New("the preview has no sentence to read")
	}
	var made struct {
		ID string `json:"id"`
	}
	signature := ed25519.Sign(t.h.pocket.People[part].key(), policy.GrantMessage(digest))
	a, err = c.post(ctx, "/api/grants", map[string]any{"grant": preview.Grant, "signature": base64url(signature)}, &made)
	if err != nil {
		return consent{}, err
	}
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return consent{}, a.unexpected("the grant to be taken")
	}
	t.grants++
	return consent{id: made.ID, digest: digest, until: until}, nil
}

// revoke withdraws a grant, signed by the patient with the given part.
func (t *tale) revoke(ctx context.Context, part string, g consent) error {
	signature := ed25519.Sign(t.h.pocket.People[part].key(), policy.WithdrawMessage(g.digest))
	a, err := t.as(part).post(ctx, "/api/grants/"+url.PathEscape(g.id)+"/withdraw",
		map[string]string{"signature": base64.RawURLEncoding.EncodeToString(signature)}, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.unexpected("the withdrawal to be taken")
	}
	t.withdrawals++
	return nil
}

// reads asks for a record and compares it with the original.
func (t *tale) reads(ctx context.Context, login string, original *fhir.Resource) error {
	a, err := t.as(login).get(ctx, pathOf(original))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.unexpected("200")
	}
	got, err := a.resource()
	if err != nil {
		return err
	}
	return same(got, original)
}

// refused asks for a record and wants the answer that an absent one gets.
func (t *tale) refused(ctx context.Context, login string, original *fhir.Resource) error {
	c := t.as(login)
	a, err := c.get(ctx, pathOf(original))
	if err != nil {
		return err
	}
	absent, err := c.get(ctx, "/fhir/"+original.Type()+"/"+newID())
	if err != nil {
		return err
	}
	switch {
	case a.status != http.StatusNotFound:
		return a.unexpected("404")
	case absent.status != http.StatusNotFound:
		return absent.unexpected("404")
	case string(a.body) != string(absent.body):
		return fmt.Errorf("%s answers otherwise than for what does not exist", a)
	case !slices.Equal(headerNames(a.header), headerNames(absent.header)):
		return fmt.Errorf("%s has other headers than for what does not exist", a)
	case len(a.entries()) != 1 || len(absent.entries()) != 1:
		return fmt.Errorf("%s, or its absent twin, names no entry in the log", a)
	}
	return nil
}

func headerNames(h http.Header) []string {
	names := lo.Keys(h)
	slices.Sort(names)
	return names
}

func pathOf(r *fhir.Resource) string { return "/fhir/" + r.Type() + "/" + r.ID() }

// same compares two resources by content: canonical JSON, less meta.
func same(got, original *fhir.Resource) error {
	a, err := got.WithoutMeta()
	if err != nil {
		return fmt.Errorf("compare %s: %w", pathOf(original), err)
	}
	b, err := original.WithoutMeta()
	if err != nil {
		return fmt.Errorf("compare %s: %w", pathOf(original), err)
	}
	if string(a.Canonical()) != string(b.Canonical()) {
		return fmt.Errorf("%s came back changed", pathOf(original))
	}
	return nil
}

// sameSet compares what was found with what should have been.
func sameSet(got, want []*fhir.Resource) error {
	byPath := lo.KeyBy(got, pathOf)
	if len(byPath) != len(got) {
		return errors.New("something was found twice")
	}
	for _, w := range want {
		g, found := byPath[pathOf(w)]
		if !found {
			return fmt.Errorf("%s was not found; %d of %d were", pathOf(w), len(got), len(want))
		}
		if err := same(g, w); err != nil {
			return err
		}
	}
	if len(got) != len(want) {
		extra, _ := lo.Find(got, func(r *fhir.Resource) bool {
			return !slices.ContainsFunc(want, func(w *fhir.Resource) bool { return pathOf(w) == pathOf(r) })
		})
		return fmt.Errorf("%s was found and should not have been", pathOf(extra))
	}
	return nil
}
