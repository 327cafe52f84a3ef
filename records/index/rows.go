package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
)

// Row is one revision of one resource.
type Row struct {
	Type, ID   string
	Revision   uint64
	Patient    string   // "Patient/…"; "" for a record of no patient
	Upstream   string   // the store's version id of the skeleton
	Digest     [32]byte // of the envelope
	Attributes []byte   // sealed; see records.AttributeKey
	Entry      uint64   // index of the write entry
	Updated    time.Time
	Deleted    bool // this revision is the deletion; Digest and Attributes are those of the last content
}

// Put stores a row, with the terms by which the resource is now to be found;
// they replace those of its earlier revisions. The highest revision is the
// current one. Putting the same row again changes nothing.
func (x *Index) Put(ctx context.Context, row Row, terms ...Term) error {
	return x.PutAll(ctx, []Entry{{Row: row, Terms: terms}})
}

// Entry is a row with its terms.
type Entry struct {
	Row   Row
	Terms []Term
}

// PutAll stores many rows in one transaction: all or none.
func (x *Index) PutAll(ctx context.Context, entries []Entry) error {
	tx, err := x.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback() // after a commit it has nothing to do
	for _, e := range entries {
		if err := x.put(ctx, tx, e); err != nil {
			return fmt.Errorf("index %s/%s: %w", e.Row.Type, e.Row.ID, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

func (x *Index) put(ctx context.Context, tx *sql.Tx, e Entry) error {
	r := e.Row
	if r.Type == "" || r.ID == "" || r.Revision == 0 {
		return errors.New("a row needs type, id and revision")
	}
	var newest sql.NullInt64
	if err := tx.StmtContext(ctx, x.writing.newest).QueryRowContext(ctx, r.Type, r.ID).Scan(&newest); err != nil {
		return err
	}
	current := !newest.Valid || uint64(newest.Int64) <= r.Revision
	if current {
		if _, err := tx.StmtContext(ctx, x.writing.demote).ExecContext(ctx, r.Type, r.ID); err != nil {
			return err
		}
		if _, err := tx.StmtContext(ctx, x.writing.forget).ExecContext(ctx, r.Type, r.ID); err != nil {
			return err
		}
		for _, t := range lo.UniqBy(e.Terms, func(t Term) Token { return x.key.term(t) }) {
			token := x.key.term(t)
			if _, err := tx.StmtContext(ctx, x.writing.find).ExecContext(ctx, token[:], r.Type, r.ID); err != nil {
				return err
			}
		}
	}
	_, err := tx.StmtContext(ctx, x.writing.put).ExecContext(ctx,
		r.Type, r.ID, int64(r.Revision), r.Patient, r.Upstream, r.Digest[:], lo.Ternary(r.Attributes == nil, []byte{}, r.Attributes),
		int64(r.Entry), r.Updated.UnixMilli(), r.Deleted, current)
	return err
}

// Restore puts the row of a write entry that the log has, from the envelope
// that the store has: how an index is filled again. The envelope must be the
// one the entry names. Upstream is the store's version id.
func (x *Index) Restore(ctx context.Context, index uint64, body *chain.Body, e *records.Envelope, upstream string) error {
	digest := e.Digest()
	resource, ok := lo.Find(body.Resources, func(r chain.Resource) bool {
		return r.Type == e.Label.Type && r.ID == e.Label.ID && r.Revision == e.Label.Revision && string(r.Digest) == string(digest[:])
	})
	if body.Kind != chain.Write || !ok || body.Patient != e.Label.Compartment {
		return fmt.Errorf("restore %s: entry %d did not write this envelope", e.Label.Ref(), index)
	}
	terms, err := x.key.OpenTerms(e)
	if err != nil {
		return err
	}
	return x.Put(ctx, Row{
		Type: resource.Type, ID: resource.ID, Revision: resource.Revision, Patient: body.Patient, Upstream: upstream,
		Digest: digest, Attributes: e.Attributes, Entry: index, Updated: body.At(), Deleted: body.Action == "delete",
	}, lo.Ternary(body.Action == "delete", nil, terms)...)
}

const columns = `type, id, revision, patient, upstream, digest, attributes, entry, updated, deleted`

// Current returns the newest revision, which may be a deletion, or
// [ErrNotFound].
func (x *Index) Current(ctx context.Context, typ, id string) (Row, error) {
	return x.one(ctx, `SELECT `+columns+` FROM records WHERE type = ? AND id = ? ORDER BY revision DESC LIMIT 1`, typ, id)
}

// Revision returns one revision, or [ErrNotFound].
func (x *Index) Revision(ctx context.Context, typ, id string, revision uint64) (Row, error) {
	return x.one(ctx, `SELECT `+columns+` FROM records WHERE type = ? AND id = ? AND revision = ?`, typ, id, int64(revision))
}

// Revisions returns all revisions of a resource, newest first; none is no
// error.
func (x *Index) Revisions(ctx context.Context, typ, id string) ([]Row, error) {
	return x.all(ctx, `SELECT `+columns+` FROM records WHERE type = ? AND id = ? ORDER BY revision DESC`, typ, id)
}

// ByPatient returns the current rows of a patient's resources of the given
// types (all, if none is given), deletions left out, by type and id.
func (x *Index) ByPatient(ctx context.Context, patient string, types ...string) ([]Row, error) {
	query, args := `SELECT `+columns+` FROM records WHERE patient = ? AND current = 1 AND deleted = 0`, []any{patient}
	if len(types) > 0 {
		query += ` AND type IN (?` + strings.Repeat(`, ?`, len(types)-1) + `)`
		args = append(args, lo.ToAnySlice(types)...)
	}
	return x.all(ctx, query+` ORDER BY type, id`, args...)
}

// Lookup returns at most limit current rows of a type that have every one of
// the terms, by id. Without terms it finds nothing.
func (x *Index) Lookup(ctx context.Context, typ string, limit int, terms ...Term) ([]Row, error) {
	if len(terms) == 0 {
		return nil, nil
	}
	query, args := `SELECT `+columns+` FROM records WHERE type = ? AND current = 1 AND deleted = 0`, []any{typ}
	for _, t := range terms {
		token := x.key.term(t)
		query += ` AND id IN (SELECT id FROM tokens WHERE token = ? AND type = ?)`
		args = append(args, token[:], typ)
	}
	return x.all(ctx, query+` ORDER BY id LIMIT ?`, append(args, limit)...)
}

// Marker is the index of the log entry up to which all writes are known to be
// in the table or to have failed; 0 in a new one.
func (x *Index) Marker(ctx context.Context) (uint64, error) {
	var value []byte
	err := x.read.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'marker'`).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil || len(value) != 8 {
		return 0, fmt.Errorf("index: marker: %w", errors.Join(err))
	}
	return binary.BigEndian.Uint64(value), nil
}

// SetMarker moves the marker forward; backward it does nothing.
func (x *Index) SetMarker(ctx context.Context, index uint64) error {
	_, err := x.writing.mark.ExecContext(ctx, binary.BigEndian.AppendUint64(nil, index))
	if err != nil {
		return fmt.Errorf("index: marker: %w", err)
	}
	return nil
}

func (x *Index) one(ctx context.Context, query string, args ...any) (Row, error) {
	rows, err := x.all(ctx, query, args...)
	if err != nil {
		return Row{}, err
	}
	if len(rows) == 0 {
		return Row{}, ErrNotFound
	}
	return rows[0], nil
}

func (x *Index) all(ctx context.Context, query string, args ...any) ([]Row, error) {
	rows, err := x.reading.query(ctx, x.read, query, args...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		var r Row
		var revision, entry, updated int64
		var digest []byte
		if err := rows.Scan(&r.Type, &r.ID, &revision, &r.Patient, &r.Upstream, &digest, &r.Attributes, &entry, &updated, &r.Deleted); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		if len(digest) != len(r.Digest) {
			return nil, fmt.Errorf("index %s/%s: digest of %d bytes", r.Type, r.ID, len(digest))
		}
		r.Digest, r.Revision, r.Entry, r.Updated = [32]byte(digest), uint64(revision), uint64(entry), time.UnixMilli(updated).UTC()
		out = append(out, r)
	}
	return out, rows.Err()
}
