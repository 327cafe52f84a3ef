package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/wardkey/wardkey/chain"
)

// Evidence is what one file shows: entries with their bodies opened, each with a
// proof that it is in the tree of one checkpoint, and the genesis entry, which
// binds the keys that signed it.
//
// The file is deterministic CBOR, in the one encoding that [DecodeEvidence]
// accepts. Bodies are CBOR already, and the hashes are taken of exactly their
// bytes; JSON would wrap them in base64 and leave room for bytes that mean
// nothing, where here every byte is verified.
type Evidence struct {
	Version    uint64 `cbor:"1,keyasint"`           // 1
	Whole      bool   `cbor:"2,keyasint,omitempty"` // all of a patient's entries, rather than one entry
	Patient    string `cbor:"3,keyasint,omitempty"` // whose entries they are; "" is the tenant's
	Info       []byte `cbor:"4,keyasint"`           // log.json
	Checkpoint []byte `cbor:"5,keyasint"`           // with its cosignatures
	Genesis    Item   `cbor:"6,keyasint"`
	Entries    []Item `cbor:"7,keyasint"` // ascending
}

// Item is one entry.
type Item struct {
	Index uint64   `cbor:"1,keyasint"`
	Body  []byte   `cbor:"2,keyasint"`           // the encoding that the leaf commits to; the salt is in it
	Proof [][]byte `cbor:"3,keyasint,omitempty"` // inclusion in the checkpoint's tree (RFC 6962 §2.1.1)
}

// ErrNotPublished is returned where the published checkpoint does not cover an
// entry yet.
var ErrNotPublished = errors.New("not under the published checkpoint yet")

// Source is what evidence is made from: a [chain.Log], or a [chain.Reader] over
// a log directory.
type Source interface {
	Info() chain.Info
	Published() []byte
	ByPatient(patient string) []uint64
	Open(ctx context.Context, index uint64) (*chain.Body, []byte, error)
	Proof(ctx context.Context, index, size uint64) (tlog.RecordProof, error)
}

// PatientEvidence shows all of a patient's entries that the published checkpoint
// covers. It shows nothing of any other patient.
func PatientEvidence(ctx context.Context, src Source, patient string) ([]byte, error) {
	indexes := src.ByPatient(patient)
	if len(indexes) == 0 {
		return nil, fmt.Errorf("evidence: no entries: %w", chain.ErrBeyond)
	}
	return collect(ctx, src, &Evidence{Version: 1, Whole: true, Patient: patient}, indexes)
}

// EntryEvidence shows one entry. [ErrNotPublished] where the published checkpoint
// does not cover it, [chain.ErrErased] where it cannot be read any more.
func EntryEvidence(ctx context.Context, src Source, index uint64) ([]byte, error) {
	body, _, err := src.Open(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return collect(ctx, src, &Evidence{Version: 1, Patient: body.Patient}, []uint64{index})
}

func collect(ctx context.Context, src Source, e *Evidence, indexes []uint64) ([]byte, error) {
	e.Info, e.Checkpoint = src.Info().Encode(), src.Published()
	if e.Checkpoint == nil {
		return nil, fmt.Errorf("evidence: %w", ErrNotPublished)
	}
	verifier, err := src.Info().Verifier()
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	c, _, err := chain.OpenCheckpoint(e.Checkpoint, verifier)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	item := func(index uint64) (Item, error) {
		_, encoded, err := src.Open(ctx, index)
		if err != nil {
			return Item{}, fmt.Errorf("evidence: %w", err)
		}
		proof, err := src.Proof(ctx, index, c.Size)
		if err != nil {
			return Item{}, fmt.Errorf("evidence: entry %d: %w", index, err)
		}
		out := Item{Index: index, Body: encoded}
		for _, hash := range proof {
			out.Proof = append(out.Proof, bytes.Clone(hash[:]))
		}
		return out, nil
	}
	if e.Genesis, err = item(0); err != nil {
		return nil, err
	}
	for _, index := range indexes {
		if index >= c.Size {
			break
		}
		i, err := item(index)
		if err != nil {
			return nil, err
		}
		e.Entries = append(e.Entries, i)
	}
	if len(e.Entries) == 0 {
		return nil, fmt.Errorf("evidence: %w", ErrNotPublished)
	}
	return modes().enc.Marshal(e)
}

// DecodeEvidence reads an evidence file, which it does not verify.
func DecodeEvidence(data []byte) (*Evidence, error) {
	e := new(Evidence)
	if err := modes().dec.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if again, err := modes().enc.Marshal(e); err != nil || !bytes.Equal(again, data) {
		return nil, errors.New("evidence: not deterministic CBOR")
	}
	if e.Version != 1 || len(e.Entries) == 0 || !e.Whole && len(e.Entries) != 1 {
		return nil, errors.New("evidence: not of a form known here")
	}
	return e, nil
}

// Bodies decodes the entries of the evidence.
func (e *Evidence) Bodies() ([]*chain.Body, error) {
	out := make([]*chain.Body, len(e.Entries))
	for i, item := range e.Entries {
		var err error
		if out[i], err = chain.DecodeBody(item.Body); err != nil {
			return nil, fmt.Errorf("entry %d: %w", item.Index, err)
		}
	}
	return out, nil
}

// VerifyEvidence judges an evidence file. It recomputes leaves from bodies and
// roots from leaves; nothing that the file merely says is believed. Checkpoints
// in o.Seen are not compared, which would take a proof of consistency: only one
// of the very same size is.
func VerifyEvidence(data []byte, o Options) Report {
	var r Report
	e, err := DecodeEvidence(data)
	if err != nil {
		r.find(CodeEvidence, 0, "%v", err)
		return r.close()
	}
	info, err := chain.ParseInfo(e.Info)
	if err != nil {
		r.find(CodeDescription, 0, "%v", err)
		return r.close()
	}
	p := identify(&r, info, o)
	if p == nil {
		return r.close()
	}
	c, names, ok := p.cosigned(&r, e.Checkpoint)
	if !ok {
		return r.close()
	}
	compareSeen(&r, p, c, o.Seen)
	if genesis := included(&r, c, e.Genesis); genesis != nil &&
		(e.Genesis.Index != 0 || genesis.Patient != "" || !bytes.Equal(genesis.Statement, e.Info)) {
		r.find(CodeGenesis, 0, "entry 0 does not bind the log's description")
	}
	follow(&r, c, e)
	if len(r.Findings) == 0 {
		conclude(&r, c, e, names)
	}
	return r.close()
}

// included opens an item and proves that it is in the checkpoint's tree; nil
// where it is not.
func included(r *Report, c chain.Checkpoint, i Item) *chain.Body {
	body, err := chain.DecodeBody(i.Body)
	if err != nil {
		r.find(CodeBody, i.Index, "%v", err)
		return nil
	}
	proof := make(tlog.RecordProof, len(i.Proof))
	for n, hash := range i.Proof {
		if len(hash) != tlog.HashSize {
			r.find(CodeInclusion, i.Index, "hash of %d bytes", len(hash))
			return nil
		}
		proof[n] = tlog.Hash(hash)
	}
	if i.Index >= c.Size {
		r.find(CodeInclusion, i.Index, "the checkpoint is of size %d", c.Size)
		return nil
	}
	leaf := chain.LeafOf(i.Body, body.Salt)
	if err := tlog.CheckRecord(proof, int64(c.Size), c.Root, int64(i.Index), leaf.Hash()); err != nil {
		r.find(CodeInclusion, i.Index, "the body is not the one entered in the tree at this place")
		return nil
	}
	return body
}

// follow holds the entries against each other.
func follow(r *Report, c chain.Checkpoint, e *Evidence) {
	var before *chain.Body
	var index uint64
	for n, item := range e.Entries {
		if n > 0 && item.Index <= index {
			r.find(CodeSequence, item.Index, "the entries are not in order")
			return
		}
		body := included(r, c, item)
		if body == nil {
			return
		}
		if body.Patient != e.Patient {
			r.find(CodeSequence, item.Index, "the entry is not of the patient that the evidence is about")
		}
		if e.Whole {
			seq, prev := uint64(1), uint64(0)
			switch {
			case before != nil:
				seq, prev = before.Seq+1, index
			case body.Seq > 1 && len(body.Key) > 0 && body.Prev < item.Index: // the first under a later log key
				seq, prev = body.Seq, body.Prev
				r.note("the numbers 1 to %d are not shown: the entries up to entry %d are said to be erased, and nothing about them is proven", seq-1, prev)
			}
			if body.Seq != seq || body.Prev != prev {
				r.find(CodeSequence, item.Index, "number %d after entry %d, where number %d after entry %d is next", body.Seq, body.Prev, seq, prev)
			}
			if first := before == nil || before.Kind == chain.Erase; first != (len(body.Key) > 0) {
				r.find(CodeKeys, item.Index, "an entry commits to a log key if it is the first of all, or the first after an erasure")
			}
			if before != nil && body.Time < before.Time {
				r.find(CodeTime, item.Index, "time goes back")
			}
		}
		before, index = body, item.Index
	}
}

func compareSeen(r *Report, p *party, c chain.Checkpoint, seen [][]byte) {
	for _, data := range seen {
		other, _, err := chain.OpenCheckpoint(data, p.log, p.cosigners...)
		switch {
		case err != nil || other.Origin != c.Origin:
			r.find(CodePinned, 0, "checkpoint given is not of this log: %v", err)
		case other.Size != c.Size:
			r.note("the checkpoint given is of size %d, that of the evidence of size %d: verify the log itself to compare them", other.Size, c.Size)
		case other.Root != c.Root:
			r.find(CodeFork, c.Size, "the checkpoint given is of another history")
		default:
			r.prove("the checkpoint is the one given")
		}
	}
}

func conclude(r *Report, c chain.Checkpoint, e *Evidence, names []string) {
	whose := "the tenant"
	if e.Patient != "" {
		whose = e.Patient
	}
	r.prove("the checkpoint of %s, size %d, is signed by %s", c.Origin, c.Size, signers(names))
	r.prove("entry 0 is in the log, and binds the keys that signed")
	first, last := e.Entries[0].Index, e.Entries[len(e.Entries)-1].Index
	if begin, err := chain.DecodeBody(e.Entries[0].Body); e.Whole && err == nil && begin.Seq > 1 {
		r.prove("%d entries about %s from number %d on, the first %d and the last %d, are in the log as shown here; each names the one before, and none between them is missing",
			len(e.Entries), whose, begin.Seq, first, last)
		r.note("completeness is not proven: that entry %d is the last about %s would take attestations by custodians", last, whose)
	} else if e.Whole {
		r.prove("%d entries about %s, the first %d and the last %d, are in the log as shown here; each names the one before, and none between them is missing", len(e.Entries), whose, first, last)
		r.note("completeness is not proven: that entry %d is the last about %s would take attestations by custodians", last, whose)
	} else {
		r.prove("entry %d, about %s, is in the log as shown here", first, whose)
	}
	if len(names) == 0 {
		r.note("no custodian has cosigned the checkpoint: the log could show others another history")
	}
}
