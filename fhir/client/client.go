package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

// Defaults of [Config].
const (
	DefaultAnswerBytes = 64 << 20 // 64 MiB
	DefaultInFlight    = 64
)

// Config says which store, and how much of it to take in.
type Config struct {
	// Base is the store's base URL, such as "http://127.0.0.1:8090/fhir"; required.
	Base string
	// HTTP carries the requests; nil is a client of our own with room for
	// InFlight kept connections. Its CheckRedirect is replaced.
	HTTP *http.Client
	// InFlight is how many idle connections are kept; 64 if zero. It does not
	// limit requests. Ignored if HTTP is given.
	InFlight int
	// AnswerBytes bounds any one answer; 64 MiB if zero.
	AnswerBytes int
	// Depth bounds the nesting of any one answer; fhir's own default if zero.
	Depth int
}

// Client is a store over HTTP. It is safe for concurrent use. Every method waits
// no longer than its context allows, and sets no deadline of its own.
type Client struct {
	base   *url.URL // without a trailing slash, query or fragment
	http   *http.Client
	limits fhir.Limits // of an answer
}

// Version is one version of one resource.
type Version struct {
	// Resource is nil if the version is a deletion. After a write that the server
	// answered without a body, it is what was sent, under the server's id and meta.
	Resource *fhir.Resource
	// VersionID is opaque; it is what a later If-Match must say.
	VersionID string
	// LastUpdated is zero where the server does not say, as HAPI does of deletions.
	// Where it comes from an HTTP header it is cut to the second.
	LastUpdated time.Time
	Deleted     bool
}

// New checks the configuration; it does not reach for the store.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.Base)
	switch {
	case err != nil:
		return nil, fmt.Errorf("base URL: %w", err)
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("base URL: neither http nor https")
	case base.Host == "" || base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("base URL: want scheme, host and path alone")
	case c.InFlight < 0 || c.AnswerBytes < 0 || c.Depth < 0:
		return nil, errors.New("negative limit")
	}
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = ""

	httpClient := &http.Client{}
	if c.HTTP != nil {
		*httpClient = *c.HTTP
	} else {
		httpClient.Transport = transport(orDefault(c.InFlight, DefaultInFlight))
	}
	httpClient.CheckRedirect = stayOn(base)
	limits := fhir.Limits{Bytes: orDefault(c.AnswerBytes, DefaultAnswerBytes), Depth: c.Depth}
	return &Client{base: base, http: httpClient, limits: limits}, nil
}

// Base returns the store's base URL, without a trailing slash.
func (c *Client) Base() string { return c.base.String() }

// Close lets go of idle connections. The client can be used afterwards.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// transport keeps as many connections as there may be requests in flight: the
// default of two per host would open a new one for almost every request under load.
func transport(inFlight int) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		MaxIdleConns:           inFlight,
		MaxIdleConnsPerHost:    inFlight,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    5 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		// Sealed records do not compress, and an answer's limit should be a limit on the wire too.
		DisableCompression: true,
	}
}

// stayOn allows a read to be sent on within the store, and nothing to leave it: a
// redirect to another host would carry whatever the transport adds along with it.
func stayOn(base *url.URL) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, via []*http.Request) error {
		switch {
		case len(via) > 3:
			return errors.New("more than three redirects")
		case via[0].Method != http.MethodGet:
			return errors.New("a redirect in answer to a " + via[0].Method)
		case !within(base, next.URL):
			return errors.New("a redirect to another server")
		}
		return nil
	}
}

// within tells whether u is at or under base.
func within(base, u *url.URL) bool {
	if u.Scheme != base.Scheme || u.Host != base.Host || u.User != nil {
		return false
	}
	rest, ok := strings.CutPrefix(u.Path, base.Path)
	return ok && (rest == "" || rest[0] == '/') && !strings.Contains(rest, "/../") && !strings.HasSuffix(rest, "/..")
}

// Capabilities reads the server's CapabilityStatement.
func (c *Client) Capabilities(ctx context.Context) (*fhir.Resource, error) {
	a, err := c.send(ctx, call{method: http.MethodGet, path: []string{"metadata"}})
	if err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	if err := a.want("CapabilityStatement", ""); err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	return a.resource, nil
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
