package index

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// writing is what is done to the table, prepared once: for every record written
// SQLite would otherwise read the same half dozen sentences again. All are
// prepared by Open, since the one connection belongs to a transaction later.
type writing struct {
	newest, demote, forget, find, put, mark *sql.Stmt
}

func (w *writing) prepare(ctx context.Context, db *sql.DB) error {
	for text, into := range map[string]**sql.Stmt{
		`SELECT max(revision) FROM records WHERE type = ? AND id = ?`:                                        &w.newest,
		`UPDATE records SET current = 0 WHERE type = ? AND id = ? AND current = 1`:                           &w.demote,
		`DELETE FROM tokens WHERE type = ? AND id = ?`:                                                       &w.forget,
		`INSERT INTO tokens (token, type, id) VALUES (?, ?, ?)`:                                              &w.find,
		`INSERT OR REPLACE INTO records (` + columns + `, current) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`: &w.put,
		`INSERT INTO meta (name, value) VALUES ('marker', ?)
			ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)`: &w.mark,
	} {
		var err error
		if *into, err = db.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) close() error {
	var errs []error
	for _, s := range []*sql.Stmt{w.newest, w.demote, w.forget, w.find, w.put, w.mark} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// maxReading bounds how many questions are kept prepared. There is one for each
// number of types or terms that is asked for; who asks for more than anybody
// does has it prepared each time.
const maxReading = 64

// reading is the questions that have been asked, prepared when they first were.
type reading struct {
	mu   sync.Mutex // guards kept
	kept map[string]*sql.Stmt
}

// query asks a question of db, which must be the same every time.
func (r *reading) query(ctx context.Context, db *sql.DB, text string, args ...any) (*sql.Rows, error) {
	s, err := r.prepared(ctx, db, text)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return db.QueryContext(ctx, text, args...)
	}
	return s.QueryContext(ctx, args...)
}

// prepared returns nil when there are enough already.
func (r *reading) prepared(ctx context.Context, db *sql.DB, text string) (*sql.Stmt, error) {
	r.mu.Lock()
	s, full := r.kept[text], len(r.kept) >= maxReading
	r.mu.Unlock()
	if s != nil || full {
		return s, nil
	}
	s, err := db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.kept[text]; first != nil { // somebody else was quicker
		return first, s.Close()
	}
	if r.kept == nil {
		r.kept = make(map[string]*sql.Stmt)
	}
	r.kept[text] = s
	return s, nil
}

func (r *reading) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, s := range r.kept {
		errs = append(errs, s.Close())
	}
	r.kept = nil
	return errors.Join(errs...)
}
