package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// One commit takes in at most so many writes, and stops collecting after so many
// bytes: a commit is one stretch of the log that must be synced as a whole.
const (
	commitWrites = 128
	commitBytes  = 32 << 20
)

var (
	errClosed   = errors.New("the store is closing")
	errStale    = errors.New("not the current version")
	errTaken    = errors.New("the id is taken")
	errCanceled = errors.New("given up before it was written")
)

// write is one change of one resource, and then its result.
type write struct {
	ctx      context.Context
	method   string // POST, PUT, DELETE
	typ, id  string
	resource *fhir.Resource // as sent; nil for DELETE
	entries  []entry        // of the resource, for the search index
	ifMatch  int64          // the current version must be this; 0 for any

	// The result; valid when done is closed.
	done    chan struct{}
	version version
	created bool // there was none, or it was deleted
	err     error
}

// version is one version of a resource as it is kept.
type version struct {
	number  int64
	updated int64  // Unix milliseconds
	method  string // known in a history alone
	body    []byte // nil: a deletion
}

// writer is the one goroutine that changes the file. Whatever arrives while it is
// busy with one commit goes into the next.
type writer struct {
	db    *database
	now   func() time.Time
	log   *slog.Logger
	queue chan *write

	find, update, insert, addVersion, addEntry, dropEntry *sql.Stmt

	prepared []*sql.Stmt // all of them; SQLite keeps a file open for a forgotten one

	stopping sync.Once
	stop     chan struct{} // closed: finish what is queued
	finished chan struct{} // closed: nothing will be written any more
	started  bool          // set before run, by whoever calls it
}

func newWriter(ctx context.Context, db *database, now func() time.Time, log *slog.Logger) (*writer, error) {
	w := &writer{
		db: db, now: now, log: log,
		queue: make(chan *write, commitWrites),
		stop:  make(chan struct{}), finished: make(chan struct{}),
	}
	for statement, text := range map[**sql.Stmt]string{
		&w.find:       `SELECT key, number, updated, live, entries FROM resource WHERE type = ? AND id = ?`,
		&w.insert:     `INSERT INTO resource (type, id, current, number, updated, live, entries) VALUES (?, ?, 0, 0, 0, 0, x'')`,
		&w.update:     `UPDATE resource SET current = ?, number = ?, updated = ?, live = ?, entries = ? WHERE key = ?`,
		&w.addVersion: `INSERT INTO version (resource, number, updated, method, body) VALUES (?, ?, ?, ?, ?)`,
		&w.addEntry:   `INSERT OR IGNORE INTO entry (hash, word, low, high, resource) VALUES (?, ?, ?, ?, ?)`,
		&w.dropEntry:  `DELETE FROM entry WHERE hash = ? AND word = ? AND low = ? AND high = ? AND resource = ?`,
	} {
		prepared, err := db.PrepareContext(ctx, text)
		if err != nil {
			return nil, err
		}
		*statement = prepared
		w.prepared = append(w.prepared, prepared)
	}
	return w, nil
}

// do has one write made and waits until it is on disk. If ctx ends first the write
// may still be made.
func (w *writer) do(ctx context.Context, c *write) error {
	c.ctx, c.done = ctx, make(chan struct{})
	select {
	case <-w.stop: // select would choose at random
		return errClosed
	default:
	}
	select {
	case w.queue <- c:
	case <-w.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.finished:
	}
	select {
	case <-c.done:
		return c.err
	default:
		return errClosed // queued in the moment of closing
	}
}

func (w *writer) run() {
	defer close(w.finished)
	for {
		select {
		case first := <-w.queue:
			w.group(first)
		case <-w.stop:
			for {
				select {
				case first := <-w.queue:
					w.group(first)
				default:
					return
				}
			}
		}
	}
}

// group commits first together with everything that is queued, or comes while that
// is being written. If that fails each is tried alone, so that one write cannot
// take others down with it.
func (w *writer) group(first *write) {
	group, err := w.commit(first, w.queue)
	if err != nil && len(group) > 1 {
		for _, c := range group {
			if _, err := w.commit(c, nil); err != nil {
				c.err = err
			}
			close(c.done)
		}
		return
	}
	for _, c := range group {
		if err != nil {
			c.err = err
		}
		close(c.done)
	}
}

// commit makes one transaction of first and of what more can be had without waiting.
// On an error nothing of it has happened.
func (w *writer) commit(first *write, more <-chan *write) (group []*write, err error) {
	ctx := context.Background() // a client that gives up must not take the others' commit with it
	group = []*write{first}
	if _, err := w.db.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return group, fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		w.log.Error("commit", slog.Int("writes", len(group)), slog.Any("error", err))
		// SQLite has rolled back by itself after some errors, and says so here.
		if _, rollback := w.db.ExecContext(ctx, "ROLLBACK"); rollback != nil {
			w.log.Debug("roll back", slog.Any("error", rollback))
		}
	}()
	size := 0
	for next := first; next != nil; {
		if err := w.apply(ctx, next); err != nil {
			return group, fmt.Errorf("%s %s/%s: %w", next.method, next.typ, next.id, err)
		}
		size += len(next.version.body)
		next = nil
		if len(group) < commitWrites && size < commitBytes {
			select {
			case next = <-more: // nil: never
				group = append(group, next)
			default:
			}
		}
	}
	if _, err := w.db.ExecContext(ctx, "COMMIT"); err != nil {
		return group, fmt.Errorf("commit: %w", err)
	}
	return group, nil
}

// apply makes one write within the transaction. What is wrong with the write itself
// goes into c.err and changes nothing; an error returned is the database's.
func (w *writer) apply(ctx context.Context, c *write) error {
	c.err, c.version, c.created = nil, version{}, false
	if c.ctx.Err() != nil {
		c.err = errCanceled
		return nil
	}
	was, err := w.row(ctx, c.typ, c.id)
	if err != nil {
		return err
	}
	switch {
	case c.ifMatch != 0 && (!was.live || was.number != c.ifMatch):
		c.err = errStale
		return nil
	case c.method == "POST" && was.key != 0:
		c.err = errTaken
		return nil
	case c.method == "DELETE" && !was.live:
		// Nothing to do; number is 0, or that of the deletion.
		c.version = version{number: was.number, updated: was.updated}
		return nil
	}
	c.created = !was.live
	c.version = version{number: was.number + 1, updated: max(w.now().UnixMilli(), was.updated)}
	if c.resource != nil {
		if c.version.body, err = stamp(c.resource, c.id, c.version); err != nil {
			return err
		}
	}
	key := was.key
	if key == 0 {
		if key, err = inserted(w.insert.ExecContext(ctx, c.typ, c.id)); err != nil {
			return err
		}
	}
	var body any // NULL for a deletion
	if c.resource != nil {
		body = c.version.body
	}
	current, err := inserted(w.addVersion.ExecContext(ctx, key, c.version.number, c.version.updated, c.method, body))
	if err != nil {
		return err
	}
	if err := w.reindex(ctx, key, was.entries, c.entries); err != nil {
		return err
	}
	packed, err := pack(c.entries)
	if err != nil {
		return err
	}
	_, err = w.update.ExecContext(ctx, current, c.version.number, c.version.updated, c.resource != nil, packed, key)
	return err
}

// row is what the table of resources says of one of them; zero if it does not know it.
type row struct {
	key, number, updated int64
	live                 bool
	entries              []entry
}

func (w *writer) row(ctx context.Context, typ, id string) (row, error) {
	var r row
	var packed []byte
	err := w.find.QueryRowContext(ctx, typ, id).Scan(&r.key, &r.number, &r.updated, &r.live, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, nil
	}
	if err == nil {
		r.entries, err = unpack(packed)
	}
	return r, err
}

// reindex makes the difference between two versions' rows of the index.
func (w *writer) reindex(ctx context.Context, key int64, old, now []entry) error {
	drop, add := lo.Difference(old, now)
	for _, e := range drop {
		if _, err := w.dropEntry.ExecContext(ctx, e.Hash, e.Word, e.Low, e.High, key); err != nil {
			return err
		}
	}
	for _, e := range add {
		if _, err := w.addEntry.ExecContext(ctx, e.Hash, e.Word, e.Low, e.High, key); err != nil {
			return err
		}
	}
	return nil
}

// close finishes what is queued, folds the log into the file and closes it.
func (w *writer) close() error {
	w.stopping.Do(func() { close(w.stop) })
	if w.started {
		<-w.finished
	}
	var errs []error
	for _, statement := range w.prepared {
		errs = append(errs, statement.Close())
	}
	_, err := w.db.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(append(errs, err, w.db.close())...)
}

func inserted(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// stamp gives the resource its id, version and time, in place of whatever the
// client says of them (R4 §3.1.0.4, §3.1.0.8).
func stamp(r *fhir.Resource, id string, v version) ([]byte, error) {
	if r.ID() != id {
		var err error
		if r, err = r.WithID(id); err != nil {
			return nil, err
		}
	}
	meta := r.Meta()
	meta.VersionID, meta.LastUpdated = fmt.Sprint(v.number), time.UnixMilli(v.updated).UTC()
	stamped, err := r.WithMeta(meta)
	if err != nil {
		return nil, err
	}
	return stamped.JSON(), nil
}
