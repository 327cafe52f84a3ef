package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/disk"
)

// segment is a file of the log as it was at the first look.
type segment struct {
	name string
	size int64
	last bool
}

// look lists the segments and their sizes.
func (a *auditor) look() ([]segment, error) {
	names, err := disk.SegmentNames(a.files)
	if damage, ok := errors.AsType[*disk.DamageError](err); ok {
		a.report.find(CodeForeign, 0, "%v", damage)
		a.broken = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make([]segment, 0, len(names))
	for i, name := range names {
		f, err := a.files.Open(name, disk.ForReading)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		out = append(out, segment{name: name, size: size, last: i == len(names)-1})
	}
	return out, nil
}

// segment reads the batches of a segment.
func (a *auditor) segment(ctx context.Context, s segment) error {
	if a.broken {
		return nil
	}
	f, err := a.files.Open(s.name, disk.ForReading)
	if err != nil {
		return err
	}
	defer f.Close()
	begins := a.next
	first, _, err := disk.ReadSegment(f, s.name, s.size, func(offset int64, b chain.Batch) error {
		if b.First != a.next {
			return &disk.DamageError{File: s.name, Offset: offset, Reason: fmt.Sprintf("batch of entry %d where %d is next", b.First, a.next)}
		}
		a.next = b.End()
		a.signed, a.waiting = append(a.signed, b), a.waiting+len(b.Records)
		if a.waiting >= atOnce {
			return a.flush(ctx)
		}
		return ctx.Err()
	})
	damage, damaged := errors.AsType[*disk.DamageError](err)
	if err != nil && !damaged {
		return err
	}
	headless := damaged && damage.Offset == 0
	if !headless && (first != begins || disk.SegmentName(first) != s.name) {
		a.report.find(CodeGap, begins, "%s begins with entry %d where %d is next", s.name, first, begins)
		a.broken = true
		return nil
	}
	if !damaged {
		return nil
	}
	switch {
	case damage.Torn && s.last && a.live: // it is just being written
	case damage.Torn && s.last:
		a.report.find(CodeTorn, a.next, "%v", damage)
	default:
		a.report.find(CodeDamage, a.next, "%v", damage)
		a.broken = true
	}
	return nil
}

// atOnce is how many records are judged together.
const atOnce = 4096

// opened is a body, or why there is none.
type opened struct {
	body *chain.Body
	err  error
}

// flush judges the batches that were read: signatures and bodies on all
// processors, the rest in order.
func (a *auditor) flush(ctx context.Context) error {
	batches := a.signed
	a.signed, a.waiting = nil, 0
	if a.broken {
		return nil
	}
	bodies := make([][]opened, len(batches))
	checkpoints := make([]chain.Checkpoint, len(batches))
	invalid := make([]error, len(batches))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, b := range batches {
		bodies[i] = make([]opened, len(b.Records))
		group.Go(func() error {
			checkpoints[i], _, invalid[i] = chain.OpenCheckpoint(b.Checkpoint, a.party.log)
			for j, r := range b.Records {
				bodies[i][j].body, bodies[i][j].err = a.open(b.First+uint64(j), r)
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, b := range batches {
		for j, r := range b.Records {
			a.record(b.First+uint64(j), r, bodies[i][j])
			hash := r.Leaf.Hash()
			if err := a.tree.Append(hash[:], nil); err != nil {
				return err
			}
			if err := a.tiles.push(r.Leaf, hash); err != nil {
				return err
			}
			if err := a.meet(); err != nil {
				return err
			}
		}
		if err := a.checkpoint(b, checkpoints[i], invalid[i]); err != nil {
			return err
		}
		a.tiles.settled(b.First)
	}
	return nil
}

var errNoKey = errors.New("its log key is not in the key file")

func (a *auditor) open(index uint64, r chain.Record) (*chain.Body, error) {
	place, ok := a.byID[r.Key]
	if !ok {
		return nil, errNoKey
	}
	body, _, err := a.keys[place].Unseal(index, r)
	return body, err
}

// checkpoint holds a batch's checkpoint against the recomputed tree.
func (a *auditor) checkpoint(b chain.Batch, c chain.Checkpoint, invalid error) error {
	if invalid != nil {
		a.report.find(CodeSignature, b.First, "batch of entry %d: %v", b.First, invalid)
		return nil
	}
	root, err := a.tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	if c.Origin != a.party.info.Origin || c.Size != b.End() || [sha256.Size]byte(root) != c.Root {
		a.report.find(CodeRoot, b.First, "batch of entry %d: the checkpoint of size %d is not that of its entries", b.First, c.Size)
		return nil
	}
	a.batches++
	return nil
}

// record holds one entry against the rules.
func (a *auditor) record(index uint64, r chain.Record, o opened) {
	switch {
	case errors.Is(o.err, chain.ErrErased):
		a.erased++
		a.unread(index, a.byID[r.Key])
		return
	case o.err != nil:
		a.report.find(CodeBody, index, "%v", o.err)
		return
	}
	a.bodies++
	body, place := o.body, a.byID[r.Key]
	key, h, before := a.keys[place], a.heads[place], a.before(index, a.byID[r.Key], o.body)
	if body.Patient != key.Patient {
		a.report.find(CodeSequence, index, "the entry is under another patient's log key")
	}
	if h.closed {
		a.report.find(CodeSequence, index, "the entry is under a log key whose sequence was ended by erasure")
	}
	if body.Seq != before.seq+1 || body.Prev != before.index {
		a.report.find(CodeSequence, index, "number %d after entry %d, where number %d after entry %d is next", body.Seq, body.Prev, before.seq+1, before.index)
	}
	if body.Seq == 1 {
		a.patients++
	}
	if h.seq > 0 && len(body.Key) > 0 {
		a.report.find(CodeKeys, index, "the entry commits to a log key that others are under already")
	}
	if h.seq == 0 {
		if commitment := key.Commitment(); string(body.Key) != string(commitment[:]) {
			a.report.find(CodeKeys, index, "the log key is not the one that the entry commits to")
		}
		if other, ok := a.current[body.Patient]; ok && other != place && !a.heads[other].closed {
			a.report.find(CodeSequence, index, "the patient has a second sequence")
		}
	}
	if body.Time < a.last {
		a.report.find(CodeTime, index, "time goes back")
	}
	a.last = max(a.last, body.Time)
	a.current[body.Patient] = place
	a.heads[place] = head{seq: body.Seq, index: index, closed: body.Kind == chain.Erase}
	if index == 0 && (body.Patient != "" || string(body.Statement) != string(a.party.info.Encode())) {
		a.report.find(CodeGenesis, 0, "entry 0 does not bind log.json")
	}
}

// unread notes an entry whose key is erased.
func (a *auditor) unread(index uint64, place int) {
	if h := a.heads[place]; h.seq > 0 {
		delete(a.ends, h.index)
	}
	a.ends[index] = place
	a.heads[place] = head{seq: 1, index: index, closed: true}
}

// before is where the patient's entries stand in front of the one at index: under
// the same key, under the one before it, or, where that is erased, at a place
// that the entry names and that is not known to be another patient's.
func (a *auditor) before(index uint64, place int, body *chain.Body) head {
	if h := a.heads[place]; h.seq > 0 {
		return h
	}
	if other, ok := a.current[body.Patient]; ok {
		return a.heads[other]
	}
	if _, ok := a.ends[body.Prev]; ok && body.Seq > 1 {
		delete(a.ends, body.Prev)
		a.resumed = append(a.resumed, head{seq: body.Seq, index: index})
		return head{seq: body.Seq - 1, index: body.Prev}
	}
	return head{}
}
