package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain/disk"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/threshold"
)

// CustodianOptions are what the process that runs a custodian may add to its
// file.
type CustodianOptions struct {
	// Listeners are used instead of binding the address that the file names.
	Listeners map[string]net.Listener
}

// A Custodian is a custodian that serves.
type Custodian struct {
	ends stack
}

// A custodianPlan is everything a custodian's file names, read and understood,
// with nothing started yet.
type custodianPlan struct {
	config    *CustodianConfig
	trust     *policy.Trust
	committee *threshold.Committee
	share     *threshold.Share
	signing   ed25519.PrivateKey
	attribute *records.AttributeKey
	log       note.Verifier
	material  material
}

func (c *CustodianConfig) plan(ctx context.Context) (*custodianPlan, error) {
	p := &custodianPlan{config: c}
	var secrets CustodianSecrets
	var err error
	if err := c.Keystore.loadSecrets(ctx, c.folder, secrets.fields()); err != nil {
		return nil, err
	}
	if p.trust, err = readTrust(under(c.folder, c.Trust), c.Tenant); err != nil {
		return nil, err
	}
	if p.committee, err = readCommittee(under(c.folder, c.Committee)); err != nil {
		return nil, err
	}
	if p.material, err = c.TLS.load(c.folder, secrets.TLS); err != nil {
		return nil, err
	}
	if p.share, err = threshold.ParseShare(secrets.Share); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyShare, err)
	}
	clear(secrets.Share)
	if err := p.share.Fits(p.committee); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyShare, err)
	}
	if p.share.Index() != c.Index {
		return nil, fmt.Errorf("keystore: secret %q is share %d, and this is custodian %d", keyShare, p.share.Index(), c.Index)
	}
	if len(secrets.Signing) != ed25519.SeedSize {
		return nil, fmt.Errorf("keystore: secret %q has %d bytes, want %d", keySigning, len(secrets.Signing), ed25519.SeedSize)
	}
	p.signing = ed25519.NewKeyFromSeed(secrets.Signing)
	if p.attribute, err = records.ParseAttributeKey(secrets.Attributes); err != nil {
		return nil, fmt.Errorf("keystore: secret %q: %w", keyAttributes, err)
	}
	if p.log, err = note.NewVerifier(c.Log.Key); err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return p, nil
}

// describe says what starting would do.
func (p *custodianPlan) describe() []string {
	c := p.config
	lines := []string{
		fmt.Sprintf("hold share %d of committee %s: %d of %d open", c.Index, p.committee.ID, p.committee.K, p.committee.N),
		fmt.Sprintf("listen on %s for %v", c.Listen, c.TLS.Clients),
		fmt.Sprintf("follow the log %s in %s", p.log.Name(), under(c.folder, c.Log.Dir)),
	}
	if c.Admin != "" {
		lines = append(lines, "serve health and metrics on "+c.Admin)
	}
	return lines
}

// StartCustodian starts the custodian that the configuration describes. It
// serves when it is returned; ctx bounds the start alone. Whatever prevents the
// start leaves nothing running.
func StartCustodian(ctx context.Context, c *CustodianConfig, o CustodianOptions) (_ *Custodian, err error) {
	p, err := c.plan(ctx)
	if err != nil {
		return nil, err
	}
	n := &Custodian{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close(context.WithoutCancel(ctx)))
		}
	}()
	log, logFile, err := c.Logging.open(c.folder)
	if err != nil {
		return nil, err
	}
	n.ends.push(plain(logFile.Close))
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	files, err := disk.Open(disk.Config{Dir: under(c.folder, c.Log.Dir), Log: log})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	n.ends.push(plain(files.Close))
	holder, err := custodian.Open(ctx, custodian.Config{
		Index: c.Index, Committee: p.committee, Share: p.share, Trust: p.trust, AttributeKey: p.attribute,
		LogVerifier: p.log, Store: files, Signer: p.signing, Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("open custodian: %w", err)
	}
	n.ends.push(plain(holder.Close))

	bound := GatewayOptions{Listeners: o.Listeners}
	front, err := bound.bind(ctx, c.Listen)
	if err != nil {
		return nil, err
	}
	n.ends.push(closeListener(front))
	var side net.Listener
	if c.Admin != "" {
		if side, err = bound.bind(ctx, c.Admin); err != nil {
			return nil, err
		}
		n.ends.push(closeListener(side))
	}
	serving := &servers{log: log}
	n.ends.push(serving.close)
	serving.serve("custodian", front, holder.Handler(), p.material.mutual(c.TLS.Clients))
	if side != nil {
		serving.serve("admin", side, custodianAdmin(metrics), nil)
	}
	return n, nil
}

// Close takes no more calls, finishes those under way, and closes the replica.
func (n *Custodian) Close(ctx context.Context) error { return n.ends.close(ctx) }

// custodianAdmin answers as long as the process runs: a custodian has nothing to
// wait for, it catches up with the next call.
func custodianAdmin(metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	fine := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }
	mux.HandleFunc("GET /healthz", fine)
	mux.HandleFunc("GET /readyz", fine)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}
