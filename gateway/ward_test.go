package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/remote"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/fhir/store"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/index"
	"github.com/wardkey/wardkey/records/recordstest"
)

// A ward is a hospital with a gateway: real custodians, a real store over HTTP, a
// real log, and a line to each that can be cut.
type ward struct {
	*recordstest.Hospital
	t testing.TB

	store    *store.Store
	line     *line // between gateway and store
	upstream *client.Client
	chain    *flakyChain
	index    *index.Index
	key      index.Key
	sessions *smart.Sessions
	gateway  *gateway.Gateway
	server   *httptest.Server
	front    http.Handler // what the server serves now
	logs     *logs

	loaderKey *ecdsa.PrivateKey
	keys      map[string]ed25519.PrivateKey // of who enrolled over HTTP
	edit      func(*gateway.Config)
}

// wardOptions change a ward from what it usually is.
type wardOptions struct {
	edit  func(*gateway.Config)
	trust func(*policy.Trust)
	disk  bool // logs are kept in files
}

const clientLoader = "loader"

func newWard(t testing.TB, o ...wardOptions) *ward {
	t.Helper()
	options := wardOptions{}
	if len(o) > 0 {
		options = o[0]
	}
	w := &ward{t: t, logs: &logs{}, line: &line{}, edit: options.edit}
	w.loaderKey = lo.Must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.front.ServeHTTP(rw, r) }))
	base := "http://" + w.server.Listener.Addr().String()
	w.Hospital = recordstest.New(t, recordstest.Options{Disk: options.disk, Trust: func(trust *policy.Trust) {
		trust.TokenURLs = []string{base + "/oauth/token"}
		for i := range trust.Clients {
			if trust.Clients[i].ID == recordstest.ClientEHR {
				trust.Clients[i].Scopes = []string{"user/*.cruds"}
				trust.Clients[i].Purposes = []string{"TREAT", "ETREAT", "HRESCH"}
			}
		}
		trust.Clients = append(trust.Clients, policy.Client{
			ID: clientLoader, Kind: policy.ClientSystem, Types: []string{"*"}, Actions: []string{"create", "update", "delete"},
			Keys:     policy.NewJWKS(jose.JSONWebKey{Key: w.loaderKey.Public(), KeyID: "l1", Algorithm: "ES384", Use: "sig"}),
			Purposes: []string{"RECORDMGT"}, Default: "RECORDMGT", Scopes: []string{"system/*.cruds"},
		}, policy.Client{
			ID: "nothing", Kind: policy.ClientUser, Purposes: []string{"TREAT"}, Default: "TREAT",
		}, policy.Client{
			ID: "scoped", Kind: policy.ClientUser, Purposes: []string{"TREAT"}, Default: "TREAT", Scopes: []string{"user/Observation.r", "user/Patient.rs"},
		}, policy.Client{
			ID: "undecided", Kind: policy.ClientUser, Purposes: []string{"TREAT", "ETREAT"}, Scopes: []string{"user/*.rs"},
		})
		if options.trust != nil {
			options.trust(trust)
		}
	}})
	ctx := context.Background()
	w.store = lo.Must(store.Open(ctx, store.Config{Path: filepath.Join(w.Dir, "store.db")}))
	t.Cleanup(func() { _ = w.store.Close() })
	w.line.inner = w.store.Handler()
	behind := httptest.NewServer(w.line)
	t.Cleanup(behind.Close)
	w.upstream = lo.Must(client.New(client.Config{Base: behind.URL + "/fhir"}))
	t.Cleanup(w.upstream.Close)
	w.chain = &flakyChain{Log: w.Log}
	w.key = lo.Must(index.ParseKey(index.NewKey()))
	w.openIndex("index.db")
	w.sessions = lo.Must(smart.New(smart.Config{Trust: w.Trust, State: w.State, Log: w.chain, Quorum: w.Quorum, Now: w.Clock.Now}))
	w.server.Start()
	t.Cleanup(w.server.Close)
	w.open()
	t.Cleanup(func() { _ = w.gateway.Close() })
	return w
}

func (w *ward) openIndex(name string) {
	w.t.Helper()
	x, err := index.Open(context.Background(), index.Config{Path: filepath.Join(w.Dir, name), Key: w.key})
	w.check(err)
	w.t.Cleanup(func() { _ = x.Close() })
	w.index = x
}

// config is what the gateway is made of.
func (w *ward) config() gateway.Config {
	c := gateway.Config{
		Base: w.server.URL + "/fhir", Upstream: w.upstream, Chain: w.chain, State: w.State, Engine: w.Engine, Quorum: w.Quorum,
		Sealer: w.Sealer, Attributes: w.Attributes, Index: w.index, IndexKey: w.key, Sessions: w.sessions, Trust: w.Trust,
		Tiles: remote.NewHandler(w.Log), Log: slog.New(slog.NewJSONHandler(w.logs, nil)), Now: w.Clock.Now,
	}
	if w.edit != nil {
		w.edit(&c)
	}
	return c
}

// open starts a gateway on what there is.
func (w *ward) open() {
	w.t.Helper()
	g, err := gateway.New(w.config())
	w.check(err)
	w.gateway, w.front = g, g.Handler()
}

// restart ends the gateway and starts another on the same log, store and index.
func (w *ward) restart() {
	w.t.Helper()
	w.check(w.gateway.Close())
	w.open()
}

func (w *ward) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// A reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// resource parses the body.
func (r reply) resource(t testing.TB) *fhir.Resource {
	t.Helper()
	res, err := fhir.Parse(r.body, fhir.Limits{})
	if err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	return res
}

func (r reply) bundle(t testing.TB) fhir.Bundle {
	t.Helper()
	b, err := fhir.ParseBundle(r.resource(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// matches are the resources of a searchset that match, by reference.
func (r reply) matches(t testing.TB) []string {
	t.Helper()
	return lo.FilterMap(r.bundle(t).Entries, func(e fhir.BundleEntry, _ int) (string, bool) {
		return refOf(e.Resource), e.SearchMode == "match"
	})
}

func refOf(r *fhir.Resource) string {
	if r == nil {
		return ""
	}
	return r.Ref().String()
}

// entries are the log's indexes that the answer names.
func (r reply) entries(t testing.TB) []uint64 {
	t.Helper()
	text := r.header.Get("Wardkey-Entry")
	if text == "" {
		return nil
	}
	return lo.Map(strings.Split(text, ","), func(s string, _ int) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("Wardkey-Entry: %q", text)
		}
		return n
	})
}

// object parses a JSON body that is no resource.
func (r reply) object(t testing.TB) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal(r.body, &o); err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	return o
}

// asking is a request with its headers.
type asking struct {
	method, path string
	token        string
	body         any // string, []byte, *fhir.Resource or an object
	header       map[string]string
}

func (w *ward) do(a asking) reply {
	w.t.Helper()
	var body io.Reader
	contentType := "application/fhir+json"
	switch b := a.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	case *fhir.Resource:
		body = bytes.NewReader(b.JSON())
	case url.Values:
		body, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		data, err := json.Marshal(b)
		w.check(err)
		body, contentType = bytes.NewReader(data), "application/json"
	}
	r, err := http.NewRequest(a.method, w.server.URL+a.path, body)
	w.check(err)
	if a.body != nil {
		r.Header.Set("Content-Type", contentType)
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	res, err := w.server.Client().Do(r)
	w.check(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	w.check(err)
	return reply{res.StatusCode, res.Header, data}
}

func (w *ward) get(token, path string) reply {
	w.t.Helper()
	return w.do(asking{method: http.MethodGet, path: path, token: token})
}

// put writes a resource as the loader does, and wants it taken.
func (w *ward) load(token string, rs ...*fhir.Resource) {
	w.t.Helper()
	for _, r := range rs {
		a := w.do(asking{method: http.MethodPut, path: "/fhir/" + r.Ref().String(), token: token, body: r})
		if a.status != http.StatusCreated {
			w.t.Fatalf("load %s: %v", r.Ref(), a)
		}
	}
}

// signIn signs somebody in over HTTP and returns the access token.
func (w *ward) signIn(person string, roles ...string) string {
	w.t.Helper()
	return w.signInTo(lo.Ternary(len(roles) == 0, recordstest.ClientPortal, recordstest.ClientEHR), "", person, roles...)
}

func (w *ward) signInTo(client, scope, person string, roles ...string) string {
	w.t.Helper()
	start := w.do(asking{method: http.MethodPost, path: "/oauth/session", body: map[string]string{"client_id": client}}).object(w.t)
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {client}, "session": {start["session"].(string)},
		"subject_token":      {w.Issuer.IDToken(w.t, person, start["nonce"].(string), roles...)},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
	}
	if scope != "" {
		form.Set("scope", scope)
	}
	if _, enrolled := w.State.Key(person); enrolled {
		key, ours := w.keys[person]
		if !ours {
			key = w.Key(person)
		}
		form.Set("signature", signatureOf(key, policy.SignInMessage(start["nonce"].(string))))
	}
	a := w.do(asking{method: http.MethodPost, path: "/oauth/token", body: form})
	if a.status != http.StatusOK {
		w.t.Fatalf("sign in %s: %v", person, a)
	}
	return a.object(w.t)["access_token"].(string)
}

// assertion signs a client assertion of the loader.
func (w *ward) assertion(claims map[string]any) string {
	w.t.Helper()
	now := w.Clock.Now()
	all := map[string]any{
		"iss": clientLoader, "sub": clientLoader, "aud": w.server.URL + "/oauth/token", "jti": recordstest.NewSession(),
		"iat": now.Unix(), "exp": now.Add(4 * time.Minute).Unix(),
	}
	for name, v := range claims {
		all[name] = v
	}
	signer := lo.Must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: w.loaderKey}, (&jose.SignerOptions{}).WithHeader("kid", "l1").WithType("JWT")))
	return lo.Must(lo.Must(signer.Sign(lo.Must(json.Marshal(all)))).CompactSerialize())
}

// loader signs the registered loader in.
func (w *ward) loader() string {
	w.t.Helper()
	a := w.do(asking{method: http.MethodPost, path: "/oauth/token", body: url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientLoader}, "client_assertion": {w.assertion(nil)},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}})
	if a.status != http.StatusOK {
		w.t.Fatalf("sign in the loader: %v", a)
	}
	return a.object(w.t)["access_token"].(string)
}

// body opens an entry of the log.
func (w *ward) body(index uint64) *chain.Body {
	w.t.Helper()
	b, err := w.Log.Body(context.Background(), index)
	w.check(err)
	return b
}

// since are the entries from an index on, but for those that say what is settled:
// they come in their own time.
func (w *ward) since(index uint64) []*chain.Body {
	w.t.Helper()
	return lo.Filter(w.all(index), func(b *chain.Body, _ int) bool { return b.Kind != chain.Admin })
}

// all are the entries from an index on.
func (w *ward) all(index uint64) []*chain.Body {
	w.t.Helper()
	var out []*chain.Body
	for ; index < w.Log.Size(); index++ {
		out = append(out, w.body(index))
	}
	return out
}

// kinds are the kinds of entries, but for follow-ups, whose time is their own.
func kinds(bodies []*chain.Body) []chain.Kind {
	return lo.FilterMap(bodies, func(b *chain.Body, _ int) (chain.Kind, bool) {
		return b.Kind, b.Kind != chain.Returned
	})
}

// eventually waits for something that happens in the background.
func (w *ward) eventually(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	w.t.Fatalf("not in ten seconds: %s", what)
}

// flakyChain is the log with bad days.
type flakyChain struct {
	*chain.Log
	mu    sync.Mutex // guards fail and first
	fail  func(chain.Entry) bool
	first func(chain.Entry) // called before each entry, once
}

func (c *flakyChain) failWhen(f func(chain.Entry) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = f
}

func (c *flakyChain) Append(ctx context.Context, entries ...chain.Entry) ([]chain.Receipt, error) {
	c.mu.Lock()
	fail, first := c.fail, c.first
	c.first = nil
	c.mu.Unlock()
	if first != nil {
		first(entries[0])
	}
	if fail != nil && lo.SomeBy(entries, fail) {
		return nil, fmt.Errorf("disk full: %w", chain.ErrUnavailable)
	}
	return c.Log.Append(ctx, entries...)
}

// line is the connection to the store, with bad days.
type line struct {
	inner http.Handler
	mu    sync.Mutex // guards the rest
	cut   func(*http.Request) fault
	seen  []string // method and path of each request
}

type fault int

const (
	fine    fault = iota
	refused       // 503 at once
	lost          // carried out, and the answer lost
	unheard       // not carried out, and no answer
	invalid       // 422
	foreign       // a sealed record instead
	swapped       // the current version in place of an earlier one
	garbled       // no FHIR at all
)

func (l *line) when(f func(*http.Request) fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = f
}

func (l *line) requests() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.seen...)
}

func (l *line) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	r := req
	l.mu.Lock()
	cut := l.cut
	l.seen = append(l.seen, r.Method+" "+r.URL.Path)
	l.mu.Unlock()
	what := fine
	if cut != nil {
		what = cut(r)
	}
	switch what {
	case refused:
		rw.WriteHeader(http.StatusServiceUnavailable)
	case invalid:
		rw.Header().Set("Content-Type", "application/fhir+json")
		rw.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = rw.Write(fhir.Outcome(fhir.Issue{Code: "invalid", Details: "SECRET-OF-THE-STORE"}).JSON())
	case foreign:
		rw.Header().Set("Content-Type", "application/fhir+json")
		r := lo.Must(fhir.Parse([]byte(`{"resourceType":"Observation","id":"o2","meta":{"versionId":"1"},"status":"final"}`), fhir.Limits{}))
		if !strings.HasSuffix(req.URL.Path, "/o2") {
			r = lo.Must(fhir.Bundle{Type: "searchset", Entries: []fhir.BundleEntry{{FullURL: "Observation/o2", Resource: r, SearchMode: "match"}}}.Resource())
		}
		_, _ = rw.Write(r.JSON())
	case garbled:
		rw.Header().Set("Content-Type", "application/fhir+json")
		_, _ = rw.Write([]byte(`{"resourceType":"Observation","id":`))
	case swapped:
		r = r.Clone(r.Context())
		r.URL.Path, _, _ = strings.Cut(r.URL.Path, "/_history")
		r.RequestURI = r.URL.Path
		l.inner.ServeHTTP(rw, r)
	case lost:
		l.inner.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case unheard:
		panic(http.ErrAbortHandler)
	default:
		l.inner.ServeHTTP(rw, r)
	}
}

// writes is true of requests that change the store.
func writes(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodDelete }

// logs collects what the gateway logs.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// resourceOf makes a resource of JSON.
func resourceOf(t testing.TB, text string) *fhir.Resource {
	t.Helper()
	r, err := fhir.Parse([]byte(text), fhir.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// patient makes a Patient.
func patient(t testing.TB, id string) *fhir.Resource {
	t.Helper()
	return resourceOf(t, `{"resourceType":"Patient","id":"`+id+`","identifier":[{"system":"urn:mrn","value":"MRN-00`+id+`-77"}],
		"name":[{"family":"Canary-`+id+`","given":["Yellow"]}],"gender":"female","birthDate":"1970-02-03","telecom":[{"system":"phone","value":"555-0100-`+id+`"}]}`)
}

// weight makes an Observation of a patient: a vital sign of a day in 2026.
func weight(t testing.TB, id, patient string, day int) *fhir.Resource {
	t.Helper()
	return resourceOf(t, fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final",
		"category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],
		"code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},"subject":{"reference":"Patient/%s"},
		"effectiveDateTime":"2026-01-%02d","valueQuantity":{"value":70.50,"unit":"kg"},"note":[{"text":"canary-note-%s"}]}`, id, patient, day, id))
}

func signatureOf(key ed25519.PrivateKey, message []byte) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, message))
}
