package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// schemaVersion is kept in SQLite's user_version.
const schemaVersion = 1

// schema: a resource points at its current version; versions are only ever added.
//
// entry is the search index: what one parameter of one resource's current version
// says. hash stands for the type, the parameter and, for tokens and references, the
// value; dates have their period in low and high (Unix milliseconds, half-open),
// strings their folded beginning in word. resource.entries repeats a resource's rows,
// so that an update touches only what changed.
const schema = `
CREATE TABLE resource (
	key     INTEGER PRIMARY KEY,
	type    TEXT    NOT NULL,
	id      TEXT    NOT NULL,
	current INTEGER NOT NULL,
	number  INTEGER NOT NULL,
	updated INTEGER NOT NULL,
	live    INTEGER NOT NULL,
	entries BLOB    NOT NULL,
	UNIQUE (type, id)
);
CREATE INDEX resource_live ON resource (type, key) WHERE live;
CREATE INDEX resource_updated ON resource (type, updated) WHERE live;
CREATE TABLE version (
	key      INTEGER PRIMARY KEY,
	resource INTEGER NOT NULL,
	number   INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	method   TEXT    NOT NULL,
	body     BLOB,
	UNIQUE (resource, number)
);
CREATE TABLE entry (
	hash     INTEGER NOT NULL,
	word     TEXT    NOT NULL,
	low      INTEGER NOT NULL,
	high     INTEGER NOT NULL,
	resource INTEGER NOT NULL,
	PRIMARY KEY (hash, word, low, high, resource)
) WITHOUT ROWID;
CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
`

// readConnections bounds the readers: each holds a page cache of its own, and with
// as many as there are processors they wait for nothing.
const readConnections = 16

// database is one connection of its own pool, for the one goroutine that writes.
type database struct {
	pool *sql.DB
	*sql.Conn
}

func (d *database) close() error { return errors.Join(d.Conn.Close(), d.pool.Close()) }

// dsn names the file and sets, on each connection, what durability rests on: the
// write-ahead log, synced at every commit (synchronous=FULL).
func dsn(path string, pragmas ...string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	query := url.Values{"_pragma": append([]string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-8192)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: absolute, RawQuery: query.Encode()}).String(), nil
}

// openWriter opens the file, making it and its schema if need be.
func openWriter(ctx context.Context, path string) (*database, error) {
	// SQLite would make it readable for everybody, and gives the files beside it the same mode.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	name, err := dsn(path, "wal_autocheckpoint(4000)", "journal_size_limit(67108864)")
	if err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	d := &database{pool: pool, Conn: conn}
	if err := d.migrate(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *database) migrate(ctx context.Context) error {
	var version int
	if err := d.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch version {
	case schemaVersion:
		return nil
	case 0:
		_, err := d.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", schema, schemaVersion))
		return err
	default:
		return fmt.Errorf("its schema is version %d, and this program knows %d", version, schemaVersion)
	}
}

func openReaders(path string) (*sql.DB, error) {
	name, err := dsn(path, "query_only(1)")
	if err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(readConnections)
	pool.SetMaxIdleConns(readConnections)
	return pool, nil
}

// statements are the reads of a single resource, prepared once.
type statements struct {
	current, version, key, history *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, pool *sql.DB) error {
	for statement, text := range map[**sql.Stmt]string{
		&s.current: `SELECT v.number, v.updated, v.body FROM resource r JOIN version v ON v.key = r.current
			WHERE r.type = ? AND r.id = ?`,
		&s.version: `SELECT v.number, v.updated, v.body FROM resource r JOIN version v ON v.resource = r.key
			WHERE r.type = ? AND r.id = ? AND v.number = ?`,
		&s.key: `SELECT key FROM resource WHERE type = ? AND id = ?`,
		&s.history: `SELECT number, updated, method, body FROM version
			WHERE resource = ? AND number < ? AND updated >= ? ORDER BY number DESC LIMIT ?`,
	} {
		prepared, err := pool.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		*statement = prepared // closed with the pool
	}
	return nil
}
