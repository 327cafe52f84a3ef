package demo

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/gateway/node/demo/idp"
)

// TestTokensThatEnrolGoWhereNoGatewayReads: the issuer sends what enrols a key to
// the device alone, on no port of any machine, and what signs in nowhere near it.
func TestTokensThatEnrolGoWhereNoGatewayReads(t *testing.T) {
	c, err := newCast(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPocket(c)
	if err != nil {
		t.Fatal(err)
	}
	p.addressed("http://localhost:1", "http://localhost:2")
	config, err := p.issuer("http://localhost:1")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := idp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	sent := func(app, redirect string) bool {
		asked := url.Values{
			"response_type": {"code"}, "client_id": {app}, "redirect_uri": {redirect}, "scope": {"openid"}, "nonce": {"n"},
			"login_hint": {patientA}, "code_challenge": {strings.Repeat("x", 43)}, "code_challenge_method": {"S256"},
		}
		w := httptest.NewRecorder()
		provider.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/authorize?"+asked.Encode(), nil))
		return w.Code == http.StatusSeeOther && strings.Contains(w.Header().Get("Location"), "code=")
	}
	for _, redirect := range []string{appRedirect, "http://localhost:2/demo/callback", "http://localhost:2/enrolled", "http://localhost/enrolled", "org.wardkey.demo:/elsewhere"} {
		if sent(enrolApp, redirect) {
			t.Errorf("what enrols is sent to %s", redirect)
		}
	}
	if !sent(enrolApp, enrolRedirect) || !sent(patientApp, appRedirect) || sent(patientApp, enrolRedirect) {
		t.Error("codes do not go where they should")
	}
	trust, err := p.trust()
	if err != nil {
		t.Fatal(err)
	}
	issuer := trust.Issuers[0]
	if !slices.Equal(issuer.EnrolAudiences, []string{enrolApp}) || lo.Some(issuer.Audiences, issuer.EnrolAudiences) {
		t.Errorf("to enrol %v, to sign in %v", issuer.EnrolAudiences, issuer.Audiences)
	}
	if _, registered := trust.Client(enrolApp); registered {
		t.Error("sessions can be begun for what enrols")
	}
}
