package keystore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// VaultConfig says where Vault is and who asks.
type VaultConfig struct {
	Address   string        // https://host:port; http only to the machine itself; required
	TLS       *tls.Config   // the system's authorities and TLS 1.2 if nil
	Namespace string        // of Vault Enterprise; none if empty
	Mount     string        // of the KV version 2 engine; "secret" if empty
	Prefix    string        // put before the names of secrets with a slash; none if empty
	Auth      string        // mount of the AppRole method; "approle" if empty
	RoleID    string        // required
	SecretID  SecretID      // required
	Timeout   time.Duration // of one request; 5 s if zero
	Log       *slog.Logger  // discarded if nil
}

// SecretID is the password of an AppRole. It prints and logs as "[redacted]".
type SecretID string

const redacted = "[redacted]"

// Format hides the secret id from every verb.
func (SecretID) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret id from logs.
func (SecretID) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret id from JSON and YAML.
func (SecretID) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Vault is a [Keystore] in HashiCorp Vault's KV engine, version 2. Every write is
// checked against the version it replaces. It logs in by AppRole, and again when
// Vault does not know its token any more; apart from that one case nothing is
// tried twice, since a caller knows better whether to wait.
//
// The policy of the role needs create, update and read on <mount>/data/<prefix>/*.
type Vault struct {
	config VaultConfig
	client *api.Client
	login  chan struct{} // holds one token: whoever has it may log in

	mu       sync.Mutex     // guards what follows
	token    string         // "" before the first login
	versions map[string]int // last seen version of each secret
}

var _ Keystore = (*Vault)(nil)

// OpenVault checks the configuration and logs in.
func OpenVault(ctx context.Context, config VaultConfig) (*Vault, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	v := &Vault{config: config, client: client, login: make(chan struct{}, 1), versions: make(map[string]int)}
	v.login <- struct{}{}
	if _, err := v.session(ctx, ""); err != nil {
		return nil, err
	}
	return v, nil
}

// check fills in defaults and refuses nonsense.
func (c *VaultConfig) check() error {
	c.Mount = cmp.Or(strings.Trim(c.Mount, "/"), "secret")
	c.Prefix = strings.Trim(c.Prefix, "/")
	c.Auth = cmp.Or(strings.Trim(c.Auth, "/"), "approle")
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	u, err := url.Parse(c.Address)
	switch {
	case err != nil:
		return fmt.Errorf("address: %w", err)
	case u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fmt.Errorf("address %q is not https://host:port", u.Redacted())
	case c.RoleID == "" || c.SecretID == "":
		return errors.New("role id and secret id are required")
	case c.Timeout < 0:
		return fmt.Errorf("timeout %v is negative", c.Timeout)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newClient makes a client that takes nothing from the environment, where
// VAULT_ADDR and VAULT_TOKEN are meant for people, and that never retries: the
// library would repeat even writes.
func newClient(config VaultConfig) (*api.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if config.TLS != nil {
		transport.TLSClientConfig = config.TLS.Clone()
	}
	client, err := api.NewClient(&api.Config{
		Address: config.Address,
		Timeout: config.Timeout,
		HttpClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, err
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.ClearToken()
	if config.Namespace != "" {
		client.SetNamespace(config.Namespace)
	}
	return client, nil
}

// value is the field of a KV secret that holds ours.
const value = "value"

// Load reads the newest version. The error is [ErrNotFound], also for what was
// deleted; [ErrSealed]; [ErrDenied]; [ErrUnavailable]; or that of the context.
func (v *Vault) Load(ctx context.Context, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	secret, version, err := v.read(ctx, name)
	if err == nil || errors.Is(err, ErrNotFound) {
		v.remember(name, version)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return secret, nil
}

// Save writes a version after the one last seen. The error is as Load's, or
// [ErrConflict].
func (v *Vault) Save(ctx context.Context, name string, secret []byte) error {
	if err := checkSecret(name, secret); err != nil {
		return err
	}
	v.mu.Lock()
	seen := v.versions[name] // 0, never seen: Vault then makes it only if there is none
	v.mu.Unlock()

	var written int
	err := v.do(ctx, func(ctx context.Context) error {
		data := map[string]any{value: base64.StdEncoding.EncodeToString(secret)}
		put, err := v.client.KVv2(v.config.Mount).Put(ctx, v.path(name), data, api.WithCheckAndSet(seen))
		if err == nil {
			written = put.VersionMetadata.Version
		}
		return err
	})
	if errors.Is(err, ErrConflict) {
		// An earlier write whose answer was lost looks like this too.
		if current, version, again := v.read(ctx, name); again == nil && bytes.Equal(current, secret) {
			written, err = version, nil
		}
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	v.remember(name, written)
	return nil
}

func (v *Vault) remember(name string, version int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.versions[name] = version
}

func (v *Vault) path(name string) string {
	if v.config.Prefix == "" {
		return name
	}
	return v.config.Prefix + "/" + name
}

// read answers with the version too, even for ErrNotFound: a deleted secret has one.
func (v *Vault) read(ctx context.Context, name string) (secret []byte, version int, err error) {
	err = v.do(ctx, func(ctx context.Context) error {
		got, err := v.client.KVv2(v.config.Mount).Get(ctx, v.path(name))
		if err != nil {
			return err
		}
		if version = got.VersionMetadata.Version; got.Data == nil {
			return ErrNotFound
		}
		text, ok := got.Data[value].(string)
		if !ok || len(got.Data) != 1 {
			return errors.New("not a secret that this store wrote")
		}
		if secret, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
			return errors.New("not a secret that this store wrote: bad base64")
		}
		return checkSecret(name, secret)
	})
	return secret, version, err
}

// do calls f once, and once more if Vault no longer knows our token.
func (v *Vault) do(ctx context.Context, f func(context.Context) error) error {
	token, err := v.session(ctx, "")
	if err != nil {
		return err
	}
	call := func() error {
		ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
		defer cancel()
		return explain(f(ctx))
	}
	err = call()
	if !errors.Is(err, ErrDenied) {
		return err
	}
	if _, err := v.session(ctx, token); err != nil {
		return err
	}
	return call()
}

// session answers with a token other than the refused one, logging in if there is
// none. Of many callers whose token was refused, one logs in.
func (v *Vault) session(ctx context.Context, refused string) (string, error) {
	select {
	case <-v.login:
		defer func() { v.login <- struct{}{} }()
	case <-ctx.Done():
		return "", fmt.Errorf("log in to vault: %w", ctx.Err())
	}
	v.mu.Lock()
	token := v.token
	v.mu.Unlock()
	if token != refused {
		return token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	secret, err := v.client.Logical().WriteWithContext(ctx, "auth/"+v.config.Auth+"/login", map[string]any{
		"role_id":   v.config.RoleID,
		"secret_id": string(v.config.SecretID),
	})
	if err != nil {
		err = explain(err)
		if response, ok := errors.AsType[*api.ResponseError](err); ok && response.StatusCode == http.StatusBadRequest {
			err = fmt.Errorf("%w: %w", ErrDenied, err) // Vault's answer to a wrong role or secret id
		}
		return "", fmt.Errorf("log in to vault: %w", err)
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return "", fmt.Errorf("log in to vault: %w: an answer without a token", ErrUnavailable)
	}
	token = secret.Auth.ClientToken
	v.client.SetToken(token)
	v.mu.Lock()
	v.token = token
	v.mu.Unlock()
	v.config.Log.InfoContext(ctx, "logged in to vault", slog.Duration("lease", time.Duration(secret.Auth.LeaseDuration)*time.Second))
	return token, nil
}

// explain turns an error of the library into one of ours.
func explain(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) {
		return err
	}
	if errors.Is(err, api.ErrSecretNotFound) {
		return ErrNotFound
	}
	response, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		if _, transport := errors.AsType[*url.Error](err); transport || errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	said := &vaultError{response: response}
	switch {
	case response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrDenied, said)
	case response.StatusCode == http.StatusServiceUnavailable && said.says("sealed"):
		return ErrSealed
	case response.StatusCode == http.StatusBadRequest && said.says("check-and-set parameter did not match"):
		return ErrConflict
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500:
		return fmt.Errorf("%w: %w", ErrUnavailable, said)
	}
	return said
}

// vaultError puts what Vault said on one line.
type vaultError struct{ response *api.ResponseError }

func (e *vaultError) says(words string) bool {
	return strings.Contains(strings.ToLower(strings.Join(e.response.Errors, " ")), words)
}

func (e *vaultError) Error() string {
	said := strings.Join(strings.Fields(strings.Join(e.response.Errors, "; ")), " ")
	return fmt.Sprintf("vault answered %d: %s", e.response.StatusCode, said)
}

func (e *vaultError) Unwrap() error { return e.response }
