package custodian

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
)

const mediaType = "application/cbor"

// Handler serves POST /v1/round and GET /v1/status. It does not ask who calls:
// the listener's mutual TLS does.
func (c *Custodian) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/round", c.serveRound)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(c.Status()) // the caller is gone, if anything
	})
	return mux
}

func (c *Custodian) serveRound(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Content-Type") != mediaType {
		http.Error(w, "want "+mediaType, http.StatusUnsupportedMediaType)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, records.MaxRound))
	if err != nil {
		http.Error(w, "round too large or cut short", http.StatusRequestEntityTooLarge)
		return
	}
	round, err := records.DecodeRound(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := c.Round(r.Context(), round)
	if err != nil {
		http.Error(w, err.Error(), status(err))
		return
	}
	w.Header().Set("Content-Type", mediaType)
	_, _ = w.Write(answer.Encode()) // the caller is gone, if anything
}

func status(err error) int {
	_, fork := errors.AsType[*chain.ForkError](err)
	_, record := errors.AsType[*chain.RecordError](err)
	switch {
	case fork:
		return http.StatusConflict
	case record, errors.Is(err, records.ErrEncoding):
		return http.StatusUnprocessableEntity
	}
	return http.StatusServiceUnavailable
}

// ClientConfig says where a custodian is; all of it is required.
type ClientConfig struct {
	Index int
	URL   string       // https://host:port
	HTTP  *http.Client // with the gateway's certificate, see ClientTLS
}

// Client reaches a custodian over HTTP. It is safe for concurrent use.
type Client struct {
	index int
	base  string
	http  *http.Client
}

// NewClient checks the address and connects to nothing yet.
func NewClient(c ClientConfig) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("custodian %d: %q is not the URL of a server", c.Index, c.URL)
	}
	if c.Index < 1 || c.HTTP == nil {
		return nil, fmt.Errorf("custodian %d: an index and an HTTP client are required", c.Index)
	}
	return &Client{index: c.Index, base: strings.TrimSuffix(c.URL, "/"), http: c.HTTP}, nil
}

// Index is the custodian's place in the committee.
func (c *Client) Index() int { return c.index }

// URL is where the custodian is.
func (c *Client) URL() string { return c.base }

// Round makes the call.
func (c *Client) Round(ctx context.Context, r *records.Round) (*records.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/round", bytes.NewReader(r.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	// A round may safely arrive twice; saying so lets the transport try again
	// when a kept connection turns out to be dead.
	req.Header.Set("Idempotency-Key", hex.EncodeToString(r.ID))
	data, err := c.do(req, records.MaxAnswer)
	if err != nil {
		return nil, err
	}
	return records.DecodeAnswer(data)
}

// Status asks where the custodian stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/status", nil)
	if err != nil {
		return Status{}, err
	}
	data, err := c.do(req, 1<<20)
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("custodian %d: status: %w", c.index, err)
	}
	return s, nil
}

func (c *Client) do(req *http.Request, limit int64) ([]byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("custodian %d: read its answer: %w", c.index, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("custodian %d: answer exceeds %d bytes", c.index, limit)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("custodian %d: %s: %s", c.index, res.Status, clip(data, 200))
	}
	return data, nil
}

func clip(text []byte, most int) string {
	return strings.ToValidUTF8(strings.TrimSpace(string(text[:min(len(text), most)])), "")
}

// ServerTLS is what a custodian listens with: TLS 1.3, and nobody without a
// certificate of the given authority.
func ServerTLS(own tls.Certificate, clients *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	}
}

// ClientTLS is what the gateway connects with; name is that in the custodian's
// certificate, the URL's host if empty.
func ClientTLS(own tls.Certificate, custodians *x509.CertPool, name string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		RootCAs: custodians, ServerName: name,
	}
}
