package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

// Chain is what the gateway needs of the log; *[chain.Log] is one.
type Chain interface {
	Append(ctx context.Context, entries ...chain.Entry) ([]chain.Receipt, error)
	Body(ctx context.Context, index uint64) (*chain.Body, error)
	Size() uint64
}

// Decider is what it needs of policy; *[policy.Engine] is one.
type Decider interface {
	Decide(ctx context.Context, s *policy.State, req policy.Request, now time.Time) policy.Decision
	DecideAll(ctx context.Context, s *policy.State, req policy.Request, rs []policy.Resource, now time.Time) []policy.Decision
	Digest() [32]byte
}

// Quorum is what it needs of the custodians; *[records.Quorum] is one.
type Quorum interface {
	Prepare(a records.Asking, envelopes []*records.Envelope) (*records.Opening, error)
	Open(ctx context.Context, o *records.Opening, receipt chain.Receipt) ([]*fhir.Resource, error)
	Cosigned(ctx context.Context, index uint64) error
	Status() []records.CustodianStatus
}

// Mode says what is done with a resource type.
type Mode string

// The modes. A type that is in neither list is not served.
const (
	Seal    Mode = "seal"    // decided, logged, sealed
	Observe Mode = "observe" // scope-checked and logged, in clear in the store
)

// Limits bound what one request may cost. What is zero has the default.
type Limits struct {
	Body       int64         // bytes of a request's body; 10 MiB
	Page       int           // results on a page when _count is not stated; 50
	PageMax    int           // results on a page at most; 100
	Candidates int           // rows that one search may consider; 20,000
	Batch      int           // entries of a batch; 100
	Parallel   int           // entries of a batch under way at once; 8
	Lookup     int           // patients that one look-up may show; 10
	Requests   int           // requests under way at once; 512
	Wait       time.Duration // how long one request may wait for custodians; 2.2 s
	Upstream   time.Duration // how long it may wait for the store; 10 s
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Body: lo.CoalesceOrEmpty(l.Body, 10<<20), Page: lo.CoalesceOrEmpty(l.Page, 50), PageMax: lo.CoalesceOrEmpty(l.PageMax, 100),
		Candidates: lo.CoalesceOrEmpty(l.Candidates, 20_000), Batch: lo.CoalesceOrEmpty(l.Batch, 100),
		Parallel: lo.CoalesceOrEmpty(l.Parallel, 8), Lookup: lo.CoalesceOrEmpty(l.Lookup, 10),
		Requests: lo.CoalesceOrEmpty(l.Requests, 512),
		Wait:     lo.CoalesceOrEmpty(l.Wait, 2200*time.Millisecond), Upstream: lo.CoalesceOrEmpty(l.Upstream, 10*time.Second),
	}
}

func (l Limits) validate() error {
	if l.Body < 0 || l.Page < 0 || l.PageMax < 0 || l.Candidates < 0 || l.Batch < 0 || l.Parallel < 0 || l.Lookup < 0 ||
		l.Requests < 0 || l.Wait < 0 || l.Upstream < 0 {
		return errors.New("gateway: a negative limit")
	}
	if l.Page > l.PageMax || l.PageMax > records.MaxItems {
		return fmt.Errorf("gateway: a page holds at most %d results, and no default page more than the largest", records.MaxItems)
	}
	return nil
}

// Config is what [New] needs. Fields are required unless a default is named.
type Config struct {
	Base       string                // public base URL of the FHIR service, "https://hospital.example/fhir"; every link begins with it, whatever a request's headers say
	Upstream   *client.Client        // the store behind
	Chain      Chain                 // the log
	State      *policy.State         // what the log's entries define; the log applies them to it
	Engine     Decider               // the policy
	Quorum     Quorum                // the custodians
	Sealer     *records.Sealer       // seals what is written
	Attributes *records.AttributeKey // opens what the index keeps about each record
	Index      *index.Index          // which records there are
	IndexKey   index.Key             // of the terms that envelopes carry for it
	Sessions   *smart.Sessions       // who is signed in
	Trust      *policy.Trust         // issuers and clients, for /metadata and for the sign-in's answers
	Labelling  *policy.Labelling     // policy.DefaultLabelling() if nil
	Modes      map[string]Mode       // by resource type; DefaultModes() if nil
	Hold       func() string         // says why no request may be taken, "" for no reason; asked for each; never if nil
	Tiles      http.Handler          // serves /chain/*; nothing there if nil
	Limits     Limits
	Log        *slog.Logger         // discarded if nil
	Metrics    *prometheus.Registry // a registry of its own if nil
	Now        func() time.Time     // time.Now if nil
}

// DefaultModes seals every type that has a patient's record in it, and observes
// those that describe the hospital rather than anybody in it.
func DefaultModes() map[string]Mode {
	modes := map[string]Mode{}
	for _, typ := range fhir.Types() {
		if fhir.InPatientCompartment(typ) && !reserved(typ) {
			modes[typ] = Seal
		}
	}
	for _, typ := range []string{"Practitioner", "PractitionerRole", "Organization", "Location", "Medication"} {
		modes[typ] = Observe
	}
	return modes
}

// reserved is true of the types that nobody writes through FHIR: what they say
// is the log's to say, or an administrator's.
func reserved(typ string) bool {
	switch typ {
	case "AuditEvent", "Provenance", "Consent", "Bundle", "Binary", "Parameters", "OperationOutcome", "Subscription",
		"CapabilityStatement", "SearchParameter", "StructureDefinition", "OperationDefinition", "CompartmentDefinition",
		"ImplementationGuide", "ValueSet", "CodeSystem", "ConceptMap", "NamingSystem", "StructureMap", "GraphDefinition",
		"MessageDefinition", "TerminologyCapabilities":
		return true
	}
	return false
}

// Gateway answers requests. Its methods may be called concurrently.
type Gateway struct {
	c        Config
	base     *url.URL
	log      *slog.Logger
	now      func() time.Time
	started  time.Time
	fhirEcho *echo.Echo
	admin    http.Handler
	metrics  *metrics
	cursors  *cursors
	returned *returned
	intents  *intents
	locks    *stripes
	places   chan struct{} // one for each request under way
	opened   *attributes

	stop    context.CancelFunc
	running sync.WaitGroup
}

// New checks the configuration, and that the policy denies what nobody granted;
// it reads back every write that an earlier run left open, as far as the store
// answers; and returns a gateway ready to serve. What could not be read back is
// tried again until it is settled, and no request is served before ([Gateway.Ready]).
func New(c Config) (*Gateway, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(c.Base)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("gateway: the base must be a plain http or https URL")
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &Gateway{
		c: c, base: base, log: c.Log, now: c.Now, started: c.Now(), stop: stop,
		metrics: newMetrics(c.Metrics), cursors: newCursors(), intents: newIntents(), locks: newStripes(),
		places: make(chan struct{}, c.Limits.Requests), opened: newAttributes(c.Attributes),
	}
	if err := g.selfCheck(ctx); err != nil {
		stop()
		return nil, err
	}
	g.returned = newReturned(g)
	g.fhirEcho = g.routes()
	g.admin = g.adminRoutes()
	first, cancel := context.WithTimeout(ctx, c.Limits.Upstream)
	defer cancel()
	if err := g.reconcile(first); err != nil {
		g.log.Warn("earlier writes not yet settled", failure(err))
	}
	g.running.Go(func() { g.settle(ctx) })
	g.running.Go(func() { g.returned.run(ctx) })
	return g, nil
}

// checked fills in defaults and refuses what is missing.
func (c Config) checked() (Config, error) {
	for name, missing := range map[string]bool{
		"upstream": c.Upstream == nil, "chain": c.Chain == nil, "state": c.State == nil, "engine": c.Engine == nil, "quorum": c.Quorum == nil,
		"sealer": c.Sealer == nil, "attribute key": c.Attributes == nil, "index": c.Index == nil, "sessions": c.Sessions == nil, "trust": c.Trust == nil,
	} {
		if missing {
			return c, fmt.Errorf("gateway: no %s", name)
		}
	}
	c.Base = strings.TrimSuffix(c.Base, "/")
	c.Limits = c.Limits.withDefaults()
	if err := c.Limits.validate(); err != nil {
		return c, err
	}
	if c.Labelling == nil {
		c.Labelling = policy.DefaultLabelling()
	}
	if c.Modes == nil {
		c.Modes = DefaultModes()
	}
	for typ, mode := range c.Modes {
		switch {
		case !fhir.KnownType(typ):
			return c, fmt.Errorf("gateway: %q is not a resource type", typ)
		case mode != Seal && mode != Observe:
			return c, fmt.Errorf("gateway: %s: unknown mode %q", typ, mode)
		case reserved(typ):
			return c, fmt.Errorf("gateway: %s cannot be served as a record", typ)
		case mode == Seal && !fhir.InPatientCompartment(typ):
			return c, fmt.Errorf("gateway: %s belongs to no patient and cannot be sealed", typ)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Hold == nil {
		c.Hold = func() string { return "" }
	}
	return c, nil
}

// Handler serves /fhir, /api, /oauth and /chain.
func (g *Gateway) Handler() http.Handler { return g.front() }

// AdminHandler serves /healthz, /readyz and /metrics, for a listener that
// patients and clinicians do not reach.
func (g *Gateway) AdminHandler() http.Handler { return g.admin }

// Close writes down what has been returned so far, and waits for what runs in
// the background. Requests should have ended before.
func (g *Gateway) Close() error {
	g.stop()
	g.running.Wait()
	return nil
}
