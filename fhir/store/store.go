package store

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

// Defaults of [Config].
const (
	DefaultInFlight   = 256
	DefaultTimeout    = 30 * time.Second
	DefaultPage       = 50
	DefaultMaxPage    = 500
	DefaultPageBytes  = 16 << 20 // 16 MiB
	DefaultCandidates = 20_000
)

// Config says where the data is and how much one request may ask for.
type Config struct {
	// Path is the SQLite file, made if it is not there; required. Two further files
	// stand beside it while the store is open.
	Path string
	// Base is the URL that links begin with, such as "https://ehr.example/fhir". If
	// empty, links begin with the scheme and Host that the request came to.
	Base string
	// Resource bounds each resource sent in; fhir's own defaults if zero.
	Resource fhir.Limits
	// Page and MaxPage are how many entries a page has, unasked and at most; 50 (or
	// less) and 500 if zero. A page also ends when its resources exceed PageBytes, 16 MiB if zero.
	Page, MaxPage, PageBytes int
	// Candidates is how many resources one request may look at in search of matches;
	// 20,000 if zero. Whoever needs more follows the next link.
	Candidates int
	// InFlight is how many requests are served at once, 256 if zero; more get a 503.
	InFlight int
	// Timeout ends each request; 30 seconds if zero.
	Timeout time.Duration
	// Log gets errors, with types and ids and never content; discarded if nil.
	Log *slog.Logger
	// Now is the clock that lastUpdated is read from; time.Now if nil.
	Now func() time.Time
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	config  Config
	base    *url.URL // nil: from each request
	log     *slog.Logger
	readers *sql.DB
	reads   statements
	writer  *writer
	cursors cipher.AEAD   // seals page cursors
	slots   chan struct{} // one element a request in flight
	closing sync.Once
	closed  chan struct{}

	capabilities func() (*fhir.Resource, error) // computed when first asked for
}

// Open opens the store, making its file if there is none. A store that was killed is
// as it was after the last write that it answered, or that it was about to answer.
func Open(ctx context.Context, c Config) (*Store, error) {
	base, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("open FHIR store: %w", err)
	}
	s := &Store{config: c, base: base, log: c.Log, slots: make(chan struct{}, c.InFlight), closed: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("open FHIR store %s: %w", c.Path, err)
	}
	return s, nil
}

// complete checks the configuration and fills in its defaults.
func (c *Config) complete() (*url.URL, error) {
	if c.Path == "" || strings.ContainsAny(c.Path, "\x00") {
		return nil, errors.New("no path")
	}
	if min(c.Page, c.MaxPage, c.PageBytes, c.Candidates, c.InFlight, int(c.Timeout), c.Resource.Bytes, c.Resource.Depth) < 0 {
		return nil, errors.New("negative limit")
	}
	c.MaxPage = orDefault(c.MaxPage, max(DefaultMaxPage, c.Page))
	c.Page = orDefault(c.Page, min(DefaultPage, c.MaxPage))
	c.PageBytes = orDefault(c.PageBytes, DefaultPageBytes)
	c.Candidates = orDefault(c.Candidates, DefaultCandidates)
	c.InFlight = orDefault(c.InFlight, DefaultInFlight)
	c.Timeout = orDefault(c.Timeout, DefaultTimeout)
	c.Resource.Bytes = orDefault(c.Resource.Bytes, 10<<20)
	if c.Page > c.MaxPage {
		return nil, errors.New("pages larger than the largest page")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Base == "" {
		return nil, nil
	}
	base, err := url.Parse(c.Base)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	if base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("base URL: want scheme, host and path alone")
	}
	base.Path = strings.TrimRight(base.Path, "/")
	return base, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.shut())
		}
	}()
	conn, err := openWriter(ctx, s.config.Path)
	if err != nil {
		return err
	}
	// From here on the writer owns its connection.
	if s.writer, err = newWriter(ctx, conn, s.config.Now, s.log); err != nil {
		return errors.Join(err, conn.close())
	}
	if s.cursors, err = cursorSeal(ctx, conn); err != nil {
		return err
	}
	if s.readers, err = openReaders(s.config.Path); err != nil {
		return err
	}
	if err := s.reads.prepare(ctx, s.readers); err != nil {
		return err
	}
	opened := s.config.Now()
	s.capabilities = sync.OnceValues(func() (*fhir.Resource, error) { return capabilities(opened) })
	s.writer.started = true
	go s.writer.run()
	return nil
}

// Close answers new requests with 503, finishes the writes that are under way, and
// closes the file. It does not wait for readers; those get an error.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.closed)
		err = s.shut()
	})
	return err
}

func (s *Store) shut() error {
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	return errors.Join(errs...)
}

func orDefault[T int | time.Duration](n, otherwise T) T {
	if n == 0 {
		return otherwise
	}
	return n
}
