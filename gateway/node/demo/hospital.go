package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wardkey/wardkey/gateway"
	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/gateway/node/demo/idp"
	"github.com/wardkey/wardkey/records"
)

// A Hospital is everything that runs: identity provider, custodians, and the
// gateway with the store, each on a listener of its own.
type Hospital struct {
	dir    string
	lock   io.Closer // on the directory
	pocket *pocket
	site   *site

	outside *http.Client // of whoever calls from outside
	cast    *cast        // the synthetic data of a new hospital; nil in one that has its records

	provider *http.Server
	provided sync.WaitGroup
	gateway  *node.Gateway

	mu         sync.Mutex // guards custodians
	custodians []*node.Custodian
}

// Start opens the hospital of a directory, with everything in it serving and
// nobody signed in. A directory that is not there or empty becomes a new
// hospital, with everybody's keys enrolled and no records yet ([Hospital.Load]);
// one that an earlier run made goes on where it stopped. A start that fails
// leaves the files of the directory as they were, and one that is refused
// because the directory is in use or not ours touches nothing in it.
func Start(ctx context.Context, o Options) (_ *Hospital, err error) {
	o = o.quiet()
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", o.Dir, err)
	}
	lock, again, err := claim(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	addr, given := o.Addr, o.Addr != ""
	if !given {
		addr = DefaultAddr
	}
	var h *Hospital
	if again {
		h, err = resume(ctx, dir, addr, given)
	} else {
		h, err = found(ctx, dir, addr, given, o.Patients)
	}
	if err != nil {
		return nil, err
	}
	h.lock = lock
	if !again && !given && h.site.gateway.Listen != DefaultAddr {
		say(o.Err, "%s is taken; the gateway is at %s (--addr chooses)\n", DefaultAddr, h.base())
	}
	return h, nil
}

// found makes a new hospital.
func found(ctx context.Context, dir, addr string, given bool, patients int) (_ *Hospital, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, unfound(dir))
		}
	}()
	c, err := newCast(patients)
	if err != nil {
		return nil, err
	}
	p, err := newPocket(c)
	if err != nil {
		return nil, err
	}
	s, err := newSite(ctx, dir, addr, given)
	if err != nil {
		return nil, err
	}
	h, err := open(ctx, s, p)
	if err != nil {
		return nil, err
	}
	h.cast = c
	if err := h.enrolAll(ctx, h.caller()); err != nil {
		return nil, errors.Join(err, h.Close(context.WithoutCancel(ctx)))
	}
	return h, nil
}

// resume opens a hospital that has served before.
func resume(ctx context.Context, dir, addr string, given bool) (_ *Hospital, err error) {
	before, err := remember(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, before.restore())
		}
	}()
	p, err := readPocket(dir)
	if err != nil {
		return nil, err
	}
	s, err := openSite(ctx, dir, addr, given, p)
	if err != nil {
		return nil, err
	}
	return open(ctx, s, p)
}

// open starts everything.
func open(ctx context.Context, s *site, p *pocket) (_ *Hospital, err error) {
	h := &Hospital{
		dir: s.dir, pocket: p, site: s, outside: newOutside(), custodians: make([]*node.Custodian, len(s.custodians)),
	}
	defer func() {
		s.release()
		if err != nil {
			err = errors.Join(err, h.Close(context.WithoutCancel(ctx)))
		}
	}()
	p.addressed(h.issuer(), h.base())
	if err := p.write(s.dir); err != nil {
		return nil, err
	}
	if err := p.writeTrust(s.dir); err != nil {
		return nil, err
	}
	if err := h.provide(); err != nil {
		return nil, err
	}
	for place := range s.custodians {
		if err := h.startCustodian(ctx, place); err != nil {
			return nil, err
		}
	}
	c, err := node.LoadGateway(h.gatewayPath())
	if err != nil {
		return nil, err
	}
	h.gateway, err = node.StartGateway(ctx, c, node.GatewayOptions{Admin: h.admin(), Listeners: s.listeners})
	if err != nil {
		return nil, fmt.Errorf("start gateway: %w", err)
	}
	clear(s.listeners) // the gateway has taken what the custodians left
	if err := h.ready(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

// patience is how long a gateway has to become ready, on a busy machine.
const patience = 30 * time.Second

// ready waits until the gateway takes requests: it first holds its log against
// the copies of the custodians, which may not have answered at once.
func (h *Hospital) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		why, err := h.readiness(ctx)
		if why == "" && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the gateway is not ready: %s: %w", why, ctx.Err()), err)
		case <-again.C:
		}
	}
}

// readiness is why the gateway takes no requests; "" when it does.
func (h *Hospital) readiness(ctx context.Context) (why string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.adminURL()+"/readyz", nil)
	if err != nil {
		return "", fmt.Errorf("ask for readiness: %w", err)
	}
	resp, err := h.outside.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for readiness: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil || resp.StatusCode == http.StatusOK {
		return "", err
	}
	return resp.Status + ", " + strings.TrimSpace(string(body)), nil
}

// Gateway is the running gateway: its parts are within reach of whoever runs it,
// which is what a [Rogue] takes advantage of.
func (h *Hospital) Gateway() *node.Gateway { return h.gateway }

// Load seals the synthetic patients of a new hospital through its gateway,
// without playing the story.
func (h *Hospital) Load(ctx context.Context) error {
	if h.cast == nil {
		return errors.New("the hospital has its records")
	}
	t, err := h.tale(ctx, io.Discard)
	if err != nil {
		return err
	}
	_, err = t.seal(ctx)
	return err
}

// tale begins the story: everybody signs in.
func (h *Hospital) tale(ctx context.Context, out io.Writer) (*tale, error) {
	all := h.caller()
	tokens, err := h.signInAll(ctx, all)
	if err != nil {
		return nil, err
	}
	return &tale{h: h, cast: h.cast, tokens: tokens, all: all, out: out}, nil
}

// provide starts the identity provider.
func (h *Hospital) provide() error {
	conf, err := h.pocket.issuer(h.issuer())
	if err != nil {
		return err
	}
	provider, err := idp.New(conf)
	if err != nil {
		return fmt.Errorf("start identity provider: %w", err)
	}
	h.provider = gateway.NewServer(provider.Handler(), slog.New(slog.DiscardHandler))
	h.provided.Go(func() { _ = h.provider.Serve(h.site.issuer) }) // ends when it is shut down
	return nil
}

// startCustodian starts the custodian at the given place, if it does not run.
func (h *Hospital) startCustodian(ctx context.Context, place int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.custodians[place] != nil {
		return nil
	}
	c, err := node.LoadCustodian(h.custodianPath(place))
	if err != nil {
		return err
	}
	running, err := node.StartCustodian(ctx, c, node.CustodianOptions{Listeners: h.site.take(c.Listen)})
	if err != nil {
		return fmt.Errorf("start custodian %d: %w", c.Index, err)
	}
	h.custodians[place] = running
	return nil
}

// stopCustodian stops the custodian at the given place, if it runs.
func (h *Hospital) stopCustodian(ctx context.Context, place int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	running := h.custodians[place]
	h.custodians[place] = nil
	if running == nil {
		return nil
	}
	return running.Close(ctx)
}

// Close stops everything in the order in which requests go, after removing
// demo.json: whoever finds one finds somebody who answers.
func (h *Hospital) Close(ctx context.Context) error {
	h.outside.CloseIdleConnections()
	errs := []error{withdraw(h.dir)}
	if h.gateway != nil {
		errs = append(errs, h.gateway.Close(ctx))
	}
	for place := range h.custodians {
		errs = append(errs, h.stopCustodian(ctx, place))
	}
	if h.provider != nil {
		errs = append(errs, h.provider.Shutdown(ctx))
		h.provided.Wait()
	} else if h.site.issuer != nil {
		errs = append(errs, h.site.issuer.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
		h.lock = nil
	}
	return errors.Join(errs...)
}

// admin lets the demonstration's user stop and start custodians.
func (h *Hospital) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /demo/custodians/{n}/{act}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		acts := map[string]func(context.Context, int) error{"stop": h.stopCustodian, "start": h.startCustodian}
		act, known := acts[r.PathValue("act")]
		if err != nil || n < 1 || n > len(h.custodians) || !known {
			reply(w, http.StatusNotFound, map[string]any{"error": "want /demo/custodians/1…" + strconv.Itoa(len(h.custodians)) + "/stop or start"})
			return
		}
		// Starting and stopping are seen through even if the caller hangs up.
		if err := act(context.WithoutCancel(r.Context()), n-1); err != nil {
			reply(w, http.StatusInternalServerError, map[string]any{"error": err.Error()})
			return
		}
		if r.PathValue("act") == "start" {
			h.reached(r.Context(), n)
		}
		reply(w, http.StatusOK, map[string]any{"custodian": n, "running": r.PathValue("act") == "start"})
	})
	return mux
}

// reached waits until the gateway has a custodian's answer again, so that who
// started it may count on it; after a few seconds it no longer does.
func (h *Hospital) reached(ctx context.Context, index int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !slices.ContainsFunc(h.gateway.Quorum.Status(), func(s records.CustodianStatus) bool { return s.Index == index && s.Reachable }) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller may have gone
}

func (h *Hospital) issuer() string      { return localhost("http", h.site.issuer.Addr().String()) }
func (h *Hospital) base() string        { return h.site.gateway.Base }
func (h *Hospital) adminURL() string    { return localhost("http", h.site.gateway.Admin) }
func (h *Hospital) logDir() string      { return filepath.Join(h.dir, h.site.gateway.Log.Dir) }
func (h *Hospital) gatewayPath() string { return filepath.Join(h.dir, gatewayFile) }

// upstream is the store's FHIR base.
func (h *Hospital) upstream() string {
	if e := h.site.gateway.Upstream.Embedded; e != nil {
		return localhost("http", e.Listen) + "/fhir"
	}
	return strings.TrimSuffix(h.site.gateway.Upstream.URL, "/")
}

func (h *Hospital) custodianPath(place int) string {
	return filepath.Join(h.dir, custodianFile(h.site.custodians[place].Index))
}

// caller is somebody outside without a token.
func (h *Hospital) caller() caller { return caller{base: h.base(), http: h.outside} }

// newOutside is how callers outside reach everything, with a connection for
// each of the loader's writes.
func newOutside() *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * loading, IdleConnTimeout: time.Minute},
	}
}
