// Package index finds sealed records again without knowing what is in them.
//
// It is a table in SQLite of what the gateway must know before it asks anybody:
// which revisions of which resource there are, whose they are, where the log
// and the store have them, and their sealed attributes. Beside it are tokens:
// truncated HMACs of what a patient is looked up by. Ids are opaque; nothing
// else stands in the clear but times, numbers and digests.
//
// The index is derived. What is in it comes from the log's write entries and
// the envelopes in the store ([Index.Restore] takes one of each), so a lost or
// corrupted file is set aside by [Open], which then begins an empty one.
//
// What leaks: whoever has the file and not the key sees how many patients share
// a token, that is a name with a birth date, or an identifier. With the key
// alone one can test guesses. Search by anything else is left to the attributes,
// and to the opened records.
package index

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// ErrNotFound is returned when there is no such row.
var ErrNotFound = errors.New("not in the index")

// ErrWrongKey is returned by [Open] when the file was made under another key.
var ErrWrongKey = errors.New("index was made under another key")

// Config says where an index is kept.
type Config struct {
	Path string           // of the SQLite file; required
	Key  Key              // of its tokens; required
	Log  *slog.Logger     // discarded if nil
	Now  func() time.Time // for the name of a file set aside; time.Now if nil
}

// Key is the secret of the tokens, and of the terms that envelopes carry.
type Key struct {
	terms [32]byte // HMAC of tokens
	seal  [32]byte // AES-256-GCM of the terms in envelopes
	set   bool
}

// NewKey draws a key's 32 bytes.
func NewKey() []byte {
	secret := make([]byte, 32)
	rand.Read(secret)
	return secret
}

// ParseKey takes 32 secret bytes.
func ParseKey(secret []byte) (Key, error) {
	if len(secret) != 32 {
		return Key{}, fmt.Errorf("index key of %d bytes, want 32", len(secret))
	}
	return Key{terms: derive(secret, "tokens"), seal: derive(secret, "terms"), set: true}, nil
}

func derive(secret []byte, what string) [32]byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("wardkey-index-key-v1\x00" + what))
	return [32]byte(mac.Sum(nil))
}

// LogValue redacts.
func (Key) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String redacts.
func (Key) String() string { return "[redacted]" }

// GoString redacts.
func (Key) GoString() string { return "[redacted]" }

// Format redacts under every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// Index is the table. It is safe for concurrent use.
type Index struct {
	read  *sql.DB
	write *sql.DB // one connection: SQLite has one writer
	key   Key
	fresh bool

	writing writing // prepared for write
	reading reading // prepared for read
}

// Open opens or makes an index. A file that is not a sound database is renamed
// to end in ".corrupt-<time>" and an empty index takes its place; [Index.Fresh]
// then says so, and whoever owns log and store fills it again.
func Open(ctx context.Context, c Config) (*Index, error) {
	if c.Path == "" || !c.Key.set {
		return nil, errors.New("index: a path and a key are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	x, err := open(ctx, c)
	if err == nil || errors.Is(err, ErrWrongKey) || ctx.Err() != nil {
		return x, err
	}
	if _, missing := os.Stat(c.Path); missing != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	aside := c.Path + ".corrupt-" + c.Now().UTC().Format("20060102T150405.000")
	c.Log.Warn("index is not sound, beginning an empty one", slog.String("aside", aside), slog.Any("error", err))
	if err := os.Rename(c.Path, aside); err != nil {
		return nil, fmt.Errorf("index: set aside: %w", err)
	}
	// A write-ahead log belongs to the file it was made for, and to no other.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(c.Path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("index: set aside: %w", err)
		}
	}
	return open(ctx, c)
}

const schema = `
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS records (
	type TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,
	patient TEXT NOT NULL, upstream TEXT NOT NULL, digest BLOB NOT NULL, attributes BLOB NOT NULL,
	entry INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER NOT NULL, current INTEGER NOT NULL,
	PRIMARY KEY (type, id, revision)
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS records_patient ON records (patient, type, id) WHERE current = 1;
CREATE TABLE IF NOT EXISTS tokens (
	token BLOB NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
	PRIMARY KEY (token, type, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS tokens_record ON tokens (type, id);
`

// checkedBytes is the size up to which a file is checked in whole on Open: a
// second or so. Beyond, damage shows when it is met.
const checkedBytes = 256 << 20

func open(ctx context.Context, c Config) (_ *Index, err error) {
	info, statErr := os.Stat(c.Path)
	// The index may be lost, not wrong: a commit that a power cut takes back is
	// found again from the marker on, so NORMAL is enough.
	source := "file:" + (&url.URL{Path: c.Path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=secure_delete(on)"
	write, err := sql.Open("sqlite", source+"&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	x := &Index{write: write, key: c.Key, fresh: statErr != nil}
	defer func() {
		if err != nil {
			_ = x.Close() // the error that led here says more
		}
	}()
	if statErr == nil && info.Size() <= checkedBytes {
		var verdict string
		if err := write.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
			return nil, err
		}
		if verdict != "ok" {
			return nil, fmt.Errorf("integrity: %s", verdict)
		}
	}
	if _, err := write.ExecContext(ctx, schema); err != nil {
		return nil, err
	}
	if err := os.Chmod(c.Path, 0o600); err != nil {
		return nil, err
	}
	if err := x.checkKey(ctx); err != nil {
		return nil, err
	}
	if x.read, err = sql.Open("sqlite", source+"&_pragma=query_only(on)"); err != nil {
		return nil, err
	}
	x.read.SetMaxOpenConns(8)
	if err := x.writing.prepare(ctx, x.write); err != nil {
		return nil, err
	}
	return x, nil
}

// checkKey tells an index under another key, whose tokens would never match.
func (x *Index) checkKey(ctx context.Context) error {
	want := x.key.Token("key-check", "")
	if _, err := x.write.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ('key', ?) ON CONFLICT DO NOTHING`, want[:]); err != nil {
		return err
	}
	var have []byte
	if err := x.write.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'key'`).Scan(&have); err != nil {
		return err
	}
	if !hmac.Equal(have, want[:]) {
		return ErrWrongKey
	}
	return nil
}

// Close releases the file.
func (x *Index) Close() error {
	errs := []error{x.writing.close(), x.reading.close(), x.write.Close()}
	if x.read != nil {
		errs = append(errs, x.read.Close())
	}
	return errors.Join(errs...)
}

// Fresh reports whether Open found no sound file and began an empty one.
func (x *Index) Fresh() bool { return x.fresh }
