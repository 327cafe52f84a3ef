package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/disk"
	"github.com/wardkey/wardkey/chain/remote"
	"github.com/wardkey/wardkey/fhir/client"
	"github.com/wardkey/wardkey/fhir/store"
	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/gateway/smart"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/index"
	"github.com/wardkey/wardkey/records/threshold"
)

// GatewayOptions are what the process that runs a gateway may add to its file.
type GatewayOptions struct {
	// Admin is served on the admin listener where the gateway's own paths end.
	Admin http.Handler
	// Listeners are used instead of binding the address that the file names, so
	// that ports can be chosen, and kept, before the file is written.
	Listeners map[string]net.Listener
}

// A Gateway is a gateway that serves. Its parts are open to the process that
// runs it; closing them is the Gateway's own business.
type Gateway struct {
	Log      *chain.Log
	State    *policy.State
	Engine   *policy.Engine
	Quorum   *records.Quorum
	Upstream *client.Client

	history *history
	ends    stack
}

// A stack ends what was begun, last first.
type stack []func(context.Context) error

func (s *stack) push(end func(context.Context) error) { *s = append(*s, end) }

func (s *stack) close(ctx context.Context) error {
	var errs []error
	for _, end := range slices.Backward(*s) {
		errs = append(errs, end(ctx))
	}
	*s = nil
	return errors.Join(errs...)
}

// plain makes an end of a Close that waits for nothing.
func plain(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// A gatewayPlan is everything a gateway's file names, read and understood, with
// nothing started yet.
type gatewayPlan struct {
	config    *GatewayConfig
	secrets   GatewaySecrets
	trust     *policy.Trust
	labelling *policy.Labelling
	committee *threshold.Committee
	material  material
	signer    note.Signer
	logKey    string // the signer's verifier key
	attribute *records.AttributeKey
	index     index.Key
	modes     map[string]gateway.Mode
}

// plan reads what the file names. Whatever is wrong with it comes to light here,
// before a listener opens.
func (c *GatewayConfig) plan(ctx context.Context) (*gatewayPlan, error) {
	p := &gatewayPlan{config: c}
	var err error
	if err := c.Keystore.loadSecrets(ctx, c.folder, p.secrets.fields()); err != nil {
		return nil, err
	}
	if p.trust, err = readTrust(under(c.folder, c.Trust), c.Tenant); err != nil {
		return nil, err
	}
	if p.labelling, err = readLabelling(c.folder, c.Labelling); err != nil {
		return nil, err
	}
	if p.committee, err = readCommittee(under(c.folder, c.Committee)); err != nil {
		return nil, err
	}
	if p.material, err = c.TLS.load(c.folder, p.secrets.TLS); err != nil {
		return nil, err
	}
	if p.signer, err = note.NewSigner(strings.TrimSpace(string(p.secrets.Log))); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyLog, err)
	}
	if p.logKey, err = verifierKey(p.secrets.Log); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyLog, err)
	}
	if p.attribute, err = records.ParseAttributeKey(p.secrets.Attributes); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyAttributes, err)
	}
	if p.index, err = index.ParseKey(p.secrets.Index); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyIndex, err)
	}
	for _, peer := range c.Peers {
		if peer.Index > p.committee.N {
			return nil, fmt.Errorf("custodian %d is not of the committee, which has %d", peer.Index, p.committee.N)
		}
	}
	if len(c.Peers) < p.committee.K {
		return nil, fmt.Errorf("%d custodians are named, and %d are needed to open anything", len(c.Peers), p.committee.K)
	}
	p.modes = gateway.DefaultModes()
	for typ, mode := range c.Modes {
		p.modes[typ] = gateway.Mode(mode)
	}
	return p, nil
}

// describe says what starting would do.
func (p *gatewayPlan) describe() []string {
	c := p.config
	types := map[gateway.Mode]int{}
	for _, mode := range p.modes {
		types[mode]++
	}
	lines := []string{
		fmt.Sprintf("serve FHIR at %s/fhir, listening on %s", c.Base, c.Listen),
		fmt.Sprintf("seal %d resource types and observe %d", types[gateway.Seal], types[gateway.Observe]),
		fmt.Sprintf("open with %d of %d custodians", p.committee.K, p.committee.N),
		fmt.Sprintf("log to %s as %s", under(c.folder, c.Log.Dir), c.Log.Origin),
	}
	if c.Upstream.Embedded != nil {
		lines = append(lines, fmt.Sprintf("keep records in the embedded store %s, listening on %s",
			under(c.folder, c.Upstream.Embedded.File), c.Upstream.Embedded.Listen))
	} else {
		lines = append(lines, "keep records at "+c.Upstream.URL)
	}
	if c.Admin != "" {
		lines = append(lines, "serve health and metrics on "+c.Admin)
	}
	return lines
}

// StartGateway starts the gateway that the configuration describes. It serves
// when it is returned; ctx bounds the start alone. Whatever prevents the start
// leaves nothing running.
func StartGateway(ctx context.Context, c *GatewayConfig, o GatewayOptions) (_ *Gateway, err error) {
	p, err := c.plan(ctx)
	if err != nil {
		return nil, err
	}
	g := &Gateway{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close(context.WithoutCancel(ctx)))
		}
	}()
	log, logFile, err := c.Logging.open(c.folder)
	if err != nil {
		return nil, err
	}
	g.ends.push(plain(logFile.Close))
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	if err := g.openLog(ctx, p, log, metrics); err != nil {
		return nil, err
	}
	if err := g.openQuorum(ctx, p, log, metrics); err != nil {
		return nil, err
	}
	if err := folderOf(under(c.folder, c.Index)); err != nil {
		return nil, err
	}
	blind, err := index.Open(ctx, index.Config{Path: under(c.folder, c.Index), Key: p.index, Log: log})
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	g.ends.push(plain(blind.Close))

	// From here on listeners open: all are bound before the first one answers.
	front, err := o.bind(ctx, c.Listen)
	if err != nil {
		return nil, err
	}
	g.ends.push(closeListener(front))
	var side net.Listener
	if c.Admin != "" {
		if side, err = o.bind(ctx, c.Admin); err != nil {
			return nil, err
		}
		g.ends.push(closeListener(side))
	}
	if err := g.openUpstream(ctx, p, log, o); err != nil {
		return nil, err
	}
	handler, err := g.build(p, blind, log, metrics)
	if err != nil {
		return nil, err
	}
	serving := &servers{log: log}
	g.ends.push(serving.close)
	conf := p.material.server()
	if !c.TLS.Serve {
		conf = nil
	}
	serving.serve("gateway", front, handler.Handler(), conf)
	if side != nil {
		serving.serve("admin", side, beside(handler.AdminHandler(), o.Admin), nil)
	}
	return g, nil
}

// Close takes no more requests, finishes those under way, and closes the log and
// the databases. The context bounds the waiting, not the closing.
func (g *Gateway) Close(ctx context.Context) error { return g.ends.close(ctx) }

// openLog opens the chain and replays it into the state.
func (g *Gateway) openLog(ctx context.Context, p *gatewayPlan, log *slog.Logger, metrics prometheus.Registerer) error {
	c := p.config
	var err error
	if g.Engine, err = policy.NewEngine(ctx); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	g.State = policy.NewState(p.trust)
	files, err := disk.Open(disk.Config{Dir: under(c.folder, c.Log.Dir), Log: log})
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	g.ends.push(plain(files.Close))
	g.Log, err = chain.Open(ctx, chain.Config{
		Store: files, Signer: p.signer, Origin: c.Log.Origin, Key: p.logKey,
		Cosigners: lo.Map(c.Peers, func(p PeerConfig, _ int) string { return p.Key }),
		Genesis:   chain.Entry{Kind: chain.Key},
		Apply:     applier(g.State, log), Log: log, Metrics: metrics,
	})
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	g.ends.push(plain(g.Log.Close))
	return nil
}

// openQuorum makes the clients of the custodians, compares histories with them,
// and starts to keep them following the log. A custodian that knows another
// history prevents the start; too few that answer hold requests back until they do.
func (g *Gateway) openQuorum(ctx context.Context, p *gatewayPlan, log *slog.Logger, metrics prometheus.Registerer) error {
	g.history = newHistory(g.Log, p.committee, log)
	clients := make([]*custodian.Client, len(p.config.Peers))
	together, asking := errgroup.WithContext(ctx)
	for i, peer := range p.config.Peers {
		remote, err := p.custodian(peer)
		if err != nil {
			return err
		}
		clients[i] = remote
		together.Go(func() error { return g.history.compare(asking, remote) })
	}
	if err := together.Wait(); err != nil {
		return err
	}
	comparing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { g.history.run(comparing, clients) })
	g.ends.push(func(context.Context) error { stop(); running.Wait(); return nil })
	var err error
	g.Quorum, err = records.NewQuorum(records.QuorumConfig{
		Committee: p.committee, Source: g.Log,
		Custodians: lo.Map(clients, func(c *custodian.Client, _ int) records.Custodian { return &watched{Client: c, history: g.history} }),
		Keys:       lo.SliceToMap(p.config.Peers, func(peer PeerConfig) (int, string) { return peer.Index, peer.Key }),
		Timeout:    p.config.Timeout, Log: log, Metrics: metrics,
	})
	if err != nil {
		return fmt.Errorf("quorum: %w", err)
	}
	g.ends.push(plain(g.Quorum.Close))
	return nil
}

// custodian makes the client of one custodian. Each has connections of its own:
// one that is slow must not hold up the others.
func (p *gatewayPlan) custodian(peer PeerConfig) (*custodian.Client, error) {
	remote, err := custodian.NewClient(custodian.ClientConfig{Index: peer.Index, URL: peer.URL, HTTP: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     custodian.ClientTLS(p.material.own, p.material.trust, peer.Name),
			TLSHandshakeTimeout: 2 * time.Second,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true, // ciphertext
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("custodian %d: %w", peer.Index, err)
	}
	return remote, nil
}

// openUpstream makes the client of the store, after starting the store itself
// where it is the embedded one.
func (g *Gateway) openUpstream(ctx context.Context, p *gatewayPlan, log *slog.Logger, o GatewayOptions) error {
	base := p.config.Upstream.URL
	if e := p.config.Upstream.Embedded; e != nil {
		file := under(p.config.folder, e.File)
		if err := folderOf(file); err != nil {
			return err
		}
		l, err := o.bind(ctx, e.Listen)
		if err != nil {
			return err
		}
		g.ends.push(closeListener(l))
		base = "http://" + l.Addr().String() + "/fhir"
		s, err := store.Open(ctx, store.Config{Path: file, Log: log})
		if err != nil {
			return fmt.Errorf("open store: %w", err)
		}
		g.ends.push(plain(s.Close))
		serving := &servers{log: log}
		g.ends.push(serving.close)
		serving.serve("store", l, s.Handler(), nil)
	}
	up, err := client.New(client.Config{Base: base})
	if err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	g.Upstream = up
	g.ends.push(func(context.Context) error { up.Close(); return nil })
	return nil
}

// build puts the request path together.
func (g *Gateway) build(p *gatewayPlan, blind *index.Index, log *slog.Logger, metrics *prometheus.Registry) (*gateway.Gateway, error) {
	sealer, err := records.NewSealer(records.SealerConfig{Tenant: p.config.Tenant, Committee: p.committee, Attributes: p.attribute})
	if err != nil {
		return nil, fmt.Errorf("sealer: %w", err)
	}
	held := heldLog{Log: g.Log, history: g.history}
	sessions, err := smart.New(smart.Config{Trust: p.trust, State: g.State, Log: held, Quorum: g.Quorum, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	way, err := gateway.New(gateway.Config{
		Base:     strings.TrimSuffix(p.config.Base, "/") + "/fhir",
		Upstream: g.Upstream, Chain: held, Hold: g.history.hold, State: g.State, Engine: g.Engine, Quorum: g.Quorum,
		Sealer: sealer, Attributes: p.attribute, Index: blind, Sessions: sessions, Trust: p.trust,
		Labelling: p.labelling, Modes: p.modes, Tiles: remote.NewHandler(g.Log), Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, err
	}
	g.ends.push(plain(way.Close))
	return way, nil
}

// folderOf makes the folder that a database is to be in.
func folderOf(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// bind uses the listener that was reserved for the address, once, or binds it.
func (o GatewayOptions) bind(ctx context.Context, addr string) (net.Listener, error) {
	if l, reserved := o.Listeners[addr]; reserved {
		return l, nil
	}
	return bind(ctx, addr)
}

// closeListener closes a listener that may have been closed by its server.
func closeListener(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close listener: %w", err)
		}
		return nil
	}
}

// beside serves extra what main does not know.
func beside(main, extra http.Handler) http.Handler {
	if extra == nil {
		return main
	}
	mux := http.NewServeMux()
	mux.Handle("/demo/", extra)
	mux.Handle("/", main)
	return mux
}

// applier feeds the log's entries to the state. An entry whose statement is not
// valid has no effect, here as at every custodian; that it is there is worth a
// line, of bounded length.
func applier(state *policy.State, log *slog.Logger) func(uint64, *chain.Body) {
	return func(index uint64, b *chain.Body) {
		if err := state.Apply(b.Event(index)); err != nil {
			text := err.Error()
			text = strings.ToValidUTF8(text[:min(len(text), 400)], "")
			log.Warn("entry without effect", slog.Uint64("index", index), slog.String("kind", string(b.Kind)), slog.String("error", text))
		}
	}
}
