package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// publisher collects the custodians' cosignatures and publishes, every so
// often, a checkpoint with them.
type publisher struct {
	book      *book
	every     time.Duration
	cosigners []note.Verifier
	stop      chan struct{}
	dirty     chan struct{} // holds one: there is something new to publish

	writing sync.Mutex // held while a checkpoint is being published

	pubMu      sync.Mutex        // guards what follows
	hot        map[uint64][]byte // checkpoints signed lately, by size
	hotSizes   []uint64          // in order, the oldest forgotten first
	candidates []*candidate      // ascending sizes, descending numbers of cosignatures
	published  *candidate
	since      time.Time // when it was published, or found at the start
	bytes      []byte    // the published note
}

// candidate is a checkpoint and the cosignatures it has so far. Those of a
// candidate that is not published have not been verified yet: a custodian whose
// signature is bad delays, and is found out when it would have counted.
type candidate struct {
	size       uint64
	checkpoint []byte
	lines      map[int][]byte // by place of the cosigner
}

// maxHot is how many checkpoints a custodian may be behind with its
// cosignature.
const maxHot = 4096

func (p *publisher) begin(ctx context.Context, b *book, every time.Duration) error {
	cosigners, err := b.info.CosignVerifiers()
	if err != nil {
		return err
	}
	p.book, p.every, p.cosigners = b, every, cosigners
	p.stop, p.dirty, p.hot = make(chan struct{}), make(chan struct{}, 1), make(map[uint64][]byte)
	if b.front.size > 0 {
		p.signed(b.front.size, b.checkpoint)
	}
	published, err := b.store.Published(ctx)
	if err != nil || published == nil {
		return err
	}
	c, n, err := OpenCheckpoint(published, b.verifier, cosigners...)
	if err != nil {
		return fmt.Errorf("published %w", err)
	}
	checkpoint, err := onlySignedBy(n, b.verifier)
	if err != nil {
		return err
	}
	p.published = &candidate{size: c.Size, checkpoint: checkpoint, lines: make(map[int][]byte)}
	for _, s := range n.Sigs {
		if i := p.cosigner(s.Name, s.Hash); i >= 0 {
			p.published.lines[i] = []byte("— " + s.Name + " " + s.Base64 + "\n")
		}
	}
	p.bytes, p.since = published, time.Now()
	return nil
}

// onlySignedBy makes a note with the one signature.
func onlySignedBy(n *note.Note, v note.Verifier) ([]byte, error) {
	for _, s := range n.Sigs {
		if s.Name == v.Name() && s.Hash == v.KeyHash() {
			return []byte(n.Text + "\n— " + s.Name + " " + s.Base64 + "\n"), nil
		}
	}
	return nil, errors.New("checkpoint: signature is missing")
}

func (p *publisher) cosigner(name string, hash uint32) int {
	return slices.IndexFunc(p.cosigners, func(v note.Verifier) bool { return v.Name() == name && v.KeyHash() == hash })
}

// signed notes a checkpoint that custodians may now cosign.
func (p *publisher) signed(size uint64, checkpoint []byte) {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	p.hot[size] = checkpoint
	p.hotSizes = append(p.hotSizes, size)
	if len(p.hotSizes) > maxHot {
		delete(p.hot, p.hotSizes[0])
		p.hotSizes = p.hotSizes[1:]
	}
}

func (p *publisher) touch() {
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// Cosign takes a custodian's signature line over a checkpoint of this log, as
// the function [Cosign] makes it. It is an error when the checkpoint is not one
// that the log signed lately, or the cosigner is not the log's; the signature
// itself is verified before it is published. One that comes too late to matter
// is no error.
func (p *publisher) Cosign(checkpoint, line []byte) error {
	text, _, err := splitNote(checkpoint)
	if err != nil {
		return fmt.Errorf("cosignature: %w", err)
	}
	c, err := ParseCheckpointText(text)
	if err != nil {
		return fmt.Errorf("cosignature: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(string(line), "— "), " ")
	place := slices.IndexFunc(p.cosigners, func(v note.Verifier) bool {
		return v.Name() == name && strings.HasPrefix(string(line), signaturePrefix(v))
	})
	if place < 0 || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' || len(line) > 1024 {
		return errors.New("cosignature: not a line of one of the log's cosigners")
	}
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	if p.published != nil && c.Size < p.published.size {
		return nil
	}
	known := p.hot[c.Size]
	if p.published != nil && c.Size == p.published.size {
		known = p.published.checkpoint
	}
	if !bytes.HasPrefix(known, []byte(text+"\n")) {
		return errors.New("cosignature: not of a checkpoint signed lately")
	}
	p.add(c.Size, known, place, bytes.Clone(line))
	p.touch()
	return nil
}

// signaturePrefix is how every signature line of a key begins: the name, then
// in base64 the four bytes of the key hash, of which five characters are whole.
func signaturePrefix(v note.Verifier) string {
	line := signatureLine(v.Name(), v.KeyHash(), nil)
	return line[:len("— ")+len(v.Name())+len(" ")+5]
}

// add counts a cosignature. Of the candidates it keeps those alone that may
// still be published: a later one with as many cosignatures is better.
func (p *publisher) add(size uint64, checkpoint []byte, place int, line []byte) {
	i, found := slices.BinarySearchFunc(p.candidates, size, func(c *candidate, size uint64) int {
		return int(int64(c.size) - int64(size))
	})
	if !found {
		fresh := &candidate{size: size, checkpoint: checkpoint, lines: make(map[int][]byte)}
		if p.published != nil && p.published.size == size {
			for place, line := range p.published.lines {
				fresh.lines[place] = line
			}
		}
		p.candidates = slices.Insert(p.candidates, i, fresh)
	}
	c := p.candidates[i]
	c.lines[place] = line
	p.candidates = slices.DeleteFunc(p.candidates, func(o *candidate) bool {
		return o.size < size && len(o.lines) <= len(c.lines)
	})
}

// patience is how many intervals a published checkpoint that custodians have
// cosigned is kept, where they have not cosigned a newer one.
const patience = 10

// choose takes the candidate with the most cosignatures, and forgets those it
// overtakes. Where there is none it takes the newest checkpoint, but not at once
// if that would replace one with cosignatures.
func (p *publisher) choose() *candidate {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	if len(p.candidates) > 0 {
		best := slices.MaxFunc(p.candidates, func(a, b *candidate) int { return len(a.lines) - len(b.lines) })
		p.candidates = slices.DeleteFunc(p.candidates, func(o *candidate) bool { return o.size <= best.size })
		return best
	}
	if len(p.hotSizes) == 0 {
		return nil
	}
	size := p.hotSizes[len(p.hotSizes)-1]
	if p.published != nil && (size <= p.published.size ||
		len(p.published.lines) > 0 && time.Since(p.since) < patience*p.every) {
		return nil
	}
	return &candidate{size: size, checkpoint: p.hot[size], lines: make(map[int][]byte)}
}

// Publish publishes now, rather than within the second: the checkpoint that the
// most custodians have cosigned since the last one, or the newest where the log
// has no custodians, or they have been silent for a while.
func (p *publisher) Publish(ctx context.Context) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	best := p.choose()
	if best == nil {
		return nil
	}
	signed := bytes.Clone(best.checkpoint)
	for place, v := range p.cosigners {
		line, ok := best.lines[place]
		if !ok {
			continue
		}
		if _, err := VerifyCosignature(best.checkpoint, line, v); err != nil {
			p.book.log.WarnContext(ctx, "bad cosignature", "cosigner", v.Name(), "size", best.size)
			delete(best.lines, place)
			continue
		}
		signed = append(signed, line...)
	}
	if err := p.book.store.SetPublished(ctx, signed); err != nil {
		p.touch()
		return fmt.Errorf("publish checkpoint: %w: %w", ErrUnavailable, err)
	}
	p.pubMu.Lock()
	p.published, p.since, p.bytes = best, time.Now(), signed
	p.pubMu.Unlock()
	return nil
}

// Published is the published checkpoint with its cosignatures; nil before the
// first. It is not to be modified.
func (p *publisher) Published() []byte {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	return p.bytes
}

// run publishes what is new until it is stopped. It waits first, so that the
// custodians' answers to a new checkpoint are in.
func (p *publisher) run(ctx context.Context) {
	if p.behind() {
		p.touch()
	}
	for {
		select {
		case <-p.stop:
			return
		case <-p.dirty:
		}
		timer := time.NewTimer(p.every)
		select {
		case <-p.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := p.Publish(ctx); err != nil {
			p.book.log.ErrorContext(ctx, "publish", "error", err)
		}
		if p.behind() {
			p.touch() // cosignatures are awaited
		}
	}
}

// behind reports whether there is a newer checkpoint than the published one.
func (p *publisher) behind() bool {
	p.pubMu.Lock()
	defer p.pubMu.Unlock()
	n := len(p.hotSizes)
	return n > 0 && p.published != nil && p.hotSizes[n-1] > p.published.size
}
