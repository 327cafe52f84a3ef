package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/disk"
)

// Verify judges a log directory. While another process writes it, a consistent
// beginning is judged: what that process has just begun to write is no finding.
// The error is for a directory that cannot be read at all.
func Verify(ctx context.Context, dir string, o Options) (Report, error) {
	return VerifyFiles(ctx, disk.OS(dir), func() bool { return disk.Locked(dir) }, o)
}

// VerifyFiles is [Verify] for files that are elsewhere. live reports whether
// somebody is writing them; nil if nobody is.
func VerifyFiles(ctx context.Context, files disk.Files, live func() bool, o Options) (Report, error) {
	a := &auditor{files: files, live: live != nil && live()}
	names, err := files.List(".")
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if len(names) == 0 {
		return Report{}, errors.New("verify: no such directory, or an empty one")
	}
	if err := a.verify(ctx, names, o); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	return a.report.close(), nil
}

// auditor is one run of Verify.
type auditor struct {
	files  disk.Files
	live   bool
	report Report
	party  *party

	keys     []chain.LogKey
	byID     map[chain.KeyID]int
	heads    []head         // by key
	current  map[string]int // patient → key of the newest entry
	ends     map[uint64]int // newest entry under an erased key → that key, as far as nothing goes on from it
	erased   int            // bodies behind erased keys
	bodies   int            // bodies opened
	patients int            // sequences begun
	resumed  []head         // sequences of which the beginning is erased

	tree    *compact.Range
	tiles   tileChecker
	last    int64              // time of the entry before
	batches int                // whose checkpoint was held against the tree
	wanted  map[uint64][]claim // checkpoints to compare when the tree is of their size
	broken  bool               // nothing behind this point can be judged
	signed  []chain.Batch      // read, and not yet judged
	waiting int                // their records
	next    uint64             // index that the next batch read must have
}

// head is how far a patient's sequence has come under a key. Under an erased one
// its numbers are not known.
type head struct {
	seq, index uint64
	closed     bool
}

// claim is a checkpoint from outside the segments.
type claim struct {
	chain.Checkpoint
	code string // of the finding where the tree is another
	what string
	met  func()
}

func (a *auditor) verify(ctx context.Context, names []string, o Options) error {
	a.tree = (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	a.wanted, a.current, a.byID = make(map[uint64][]claim), make(map[string]int), make(map[chain.KeyID]int)
	a.ends = make(map[uint64]int)
	a.tiles.init(a)
	if a.live {
		a.report.note("another process is writing this log: its beginning was judged, as it was when this began")
	}
	if err := a.describe(o); err != nil || a.party == nil {
		return err
	}
	// The published checkpoint before the segments, and these before the keys: a
	// live writer writes them the other way round.
	if err := a.published(); err != nil {
		return err
	}
	a.seen(o.Seen)
	segments, err := a.look()
	if err != nil {
		return err
	}
	if err := a.loadKeys(); err != nil {
		return err
	}
	for _, s := range segments {
		if err := a.segment(ctx, s); err != nil {
			return err
		}
	}
	if err := a.flush(ctx); err != nil {
		return err
	}
	a.conclude()
	if err := a.tiles.conclude(); err != nil {
		return err
	}
	return a.foreign(names)
}

// describe reads log.json.
func (a *auditor) describe(o Options) error {
	data, err := a.read("log.json")
	if err != nil {
		return err
	}
	if data == nil {
		a.report.find(CodeDescription, 0, "log.json is missing")
		return nil
	}
	info, err := chain.ParseInfo(data)
	if err != nil {
		a.report.find(CodeDescription, 0, "%v", err)
		return nil
	}
	a.party = identify(&a.report, info, o)
	return nil
}

// published reads the published checkpoint.
func (a *auditor) published() error {
	data, err := a.read("checkpoint")
	if err != nil {
		return err
	}
	if data == nil {
		a.report.find(CodePublished, 0, "the published checkpoint is missing")
		return nil
	}
	if c, names, ok := a.party.cosigned(&a.report, data); ok {
		a.wanted[c.Size] = append(a.wanted[c.Size], claim{
			Checkpoint: c, code: CodePublished, what: "published checkpoint",
			met: func() { a.report.prove("the published checkpoint, size %d, is signed by %s", c.Size, signers(names)) },
		})
	}
	return nil
}

// seen takes up the checkpoints that the auditor has from elsewhere.
func (a *auditor) seen(checkpoints [][]byte) {
	for _, data := range checkpoints {
		c, _, err := chain.OpenCheckpoint(data, a.party.log, a.party.cosigners...)
		if err != nil || c.Origin != a.party.info.Origin {
			a.report.find(CodePinned, 0, "checkpoint given is not of this log: %v", err)
			continue
		}
		a.wanted[c.Size] = append(a.wanted[c.Size], claim{
			Checkpoint: c, code: CodeFork, what: "checkpoint seen elsewhere",
			met: func() {
				a.report.prove("the log contains the history of the checkpoint seen elsewhere, size %d", c.Size)
			},
		})
	}
}

// loadKeys reads the key file.
func (a *auditor) loadKeys() error {
	data, err := a.read("keys")
	if err != nil {
		return err
	}
	if data == nil {
		a.report.find(CodeKeys, 0, "the key file is missing")
		return nil
	}
	keys, err := disk.ReadKeys(data)
	if damage, ok := errors.AsType[*disk.DamageError](err); ok && (!a.live || !damage.Torn) {
		a.report.find(CodeKeys, 0, "%v", err)
	}
	a.keys, a.heads = keys, make([]head, len(keys))
	for i, k := range keys {
		if _, ok := a.byID[k.ID]; ok {
			a.report.find(CodeKeys, 0, "log key %s is listed twice", k.ID)
		}
		a.byID[k.ID] = i
	}
	return nil
}

// read returns a whole file; nil where there is none.
func (a *auditor) read(name string) ([]byte, error) {
	f, err := a.files.Open(name, disk.ForReading)
	if errors.Is(err, disk.ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, n)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// conclude says what follows from having been through all segments.
func (a *auditor) conclude() {
	r := &a.report
	size := a.tree.End()
	for _, c := range slices.Concat(slices.Collect(maps.Values(a.wanted))...) { // those that were met are gone
		code := c.code
		if code == CodeFork {
			code = CodeRollback
		}
		r.find(code, size, "%s is of size %d; the entries end at %d", c.what, c.Size, size)
	}
	if size == 0 {
		r.find(CodeGap, 0, "there are no entries")
		return
	}
	if len(r.Findings) > 0 {
		r.note("what was found wrong, and what lies behind it, is not proven; %d entries were read", size)
		return
	}
	r.prove("%d entries in %d batches: the tree was recomputed from them, and is the one signed at the end of every batch", size, a.batches)
	r.prove("%d bodies were decrypted, and are those that their leaves commit to", a.bodies)
	r.prove("%d sequences, one a patient: no number is missing up to their last entries here, and each entry names the one before", a.patients)
	r.prove("times never go back")
	r.prove("entry 0 binds log.json, so origin and keys")
	if a.erased > 0 {
		keys := 0
		for _, k := range a.keys {
			if k.Erased() {
				keys++
			}
		}
		r.note("%d log keys are erased: the %d bodies behind them cannot be read, and their sequences not followed; their leaves are in the tree", keys, a.erased)
		for _, h := range a.resumed {
			r.note("the sequence that goes on at entry %d with number %d begins under an erased key: what it says of the entries before cannot be checked", h.index, h.seq)
		}
	}
	r.note("completeness is not proven: that no patient's sequence goes on after this log's end would take attestations by custodians")
}

// foreign looks for what is no part of a log.
func (a *auditor) foreign(names []string) error {
	for _, name := range names {
		switch name {
		case "log.json", "keys", "checkpoint", "segments/":
		case "lock":
			data, err := a.read(name)
			if err != nil {
				return err
			}
			if len(data) > 0 {
				a.report.find(CodeForeign, 0, "the lock file is not empty")
			}
		case "tile/":
			if err := a.tiles.foreign("tile"); err != nil {
				return err
			}
		default:
			if a.live && strings.HasSuffix(name, ".tmp") {
				continue
			}
			a.report.find(CodeForeign, 0, "%s is no part of a log", name)
		}
	}
	return nil
}

// meet compares the checkpoints that speak of the tree as it is now.
func (a *auditor) meet() error {
	size := a.tree.End()
	claims := a.wanted[size]
	if len(claims) == 0 {
		return nil
	}
	root, err := a.tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	for _, c := range claims {
		if !bytes.Equal(root, c.Root[:]) {
			a.report.find(c.code, size, "%s of size %d is of another history", c.what, size)
		} else {
			c.met()
		}
	}
	delete(a.wanted, size)
	return nil
}
