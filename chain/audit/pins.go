package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/samber/lo"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
)

// Options are what the auditor knows from elsewhere.
type Options struct {
	LogKey    string   // the log's vkey; that of log.json is believed if empty
	Witnesses []string // vkeys, type 0x04, that must have cosigned the published checkpoint
	Seen      [][]byte // checkpoints of the log seen elsewhere: it must contain their history
}

// party is whose log it is, and who vouches for it.
type party struct {
	info      chain.Info
	log       note.Verifier
	cosigners []note.Verifier // those of the description, then pinned ones that are not among them
	pinned    []note.Verifier
}

// identify takes the keys from a log's description and holds them against the
// pinned ones. It returns nil where nothing can be verified.
func identify(r *Report, info chain.Info, o Options) *party {
	p := &party{info: info}
	if o.LogKey != "" && o.LogKey != info.Key {
		r.find(CodePinned, 0, "the log's key is %s, not the one given", shortKey(info.Key))
	}
	var err error
	if p.log, err = info.Verifier(); err != nil {
		r.find(CodeDescription, 0, "%v", err)
		return nil
	}
	if p.cosigners, err = info.CosignVerifiers(); err != nil {
		r.find(CodeDescription, 0, "%v", err)
		return nil
	}
	for _, vkey := range o.Witnesses {
		v, err := chain.NewCosignVerifier(vkey)
		if err != nil {
			r.find(CodePinned, 0, "witness key given: %v", err)
			continue
		}
		p.pinned = append(p.pinned, v)
		if !slices.ContainsFunc(p.cosigners, func(c note.Verifier) bool { return same(c, v) }) {
			p.cosigners = append(p.cosigners, v)
		}
	}
	if o.LogKey == "" {
		r.note("the log's key was taken from the log itself (%s): compare it with one you have from elsewhere", shortKey(info.Key))
	}
	return p
}

func same(a, b interface {
	Name() string
	KeyHash() uint32
}) bool {
	return a.Name() == b.Name() && a.KeyHash() == b.KeyHash()
}

// shortKey is a vkey without the key: name and hash.
func shortKey(vkey string) string {
	parts := strings.Split(vkey, "+")
	return strings.Join(parts[:min(2, len(parts))], "+")
}

// cosigned verifies a checkpoint that is meant for others: every signature on it
// must be known and hold. It returns who signed.
func (p *party) cosigned(r *Report, checkpoint []byte) (chain.Checkpoint, []string, bool) {
	c, n, err := chain.OpenCheckpoint(checkpoint, p.log, p.cosigners...)
	if err != nil {
		r.find(CodePublished, 0, "%v", err)
		return c, nil, false
	}
	if c.Origin != p.info.Origin {
		r.find(CodePublished, 0, "checkpoint is of %q", c.Origin)
		return c, nil, false
	}
	for _, s := range n.UnverifiedSigs {
		r.find(CodePublished, 0, "signature of %s+%08x, who is neither the log nor its cosigner", s.Name, s.Hash)
	}
	signed := func(v note.Verifier) bool {
		return slices.ContainsFunc(n.Sigs, func(s note.Signature) bool { return s.Name == v.Name() && s.Hash == v.KeyHash() })
	}
	for _, v := range p.pinned {
		if !signed(v) {
			r.find(CodePinned, 0, "witness %s has not cosigned the checkpoint", v.Name())
		}
	}
	cosigned := lo.Filter(p.cosigners, func(v note.Verifier, _ int) bool { return signed(v) })
	return c, lo.Map(cosigned, func(v note.Verifier, _ int) string { return v.Name() }), true
}

func signers(names []string) string {
	if len(names) == 0 {
		return "the log alone"
	}
	return fmt.Sprintf("the log and %d cosigners (%s)", len(names), strings.Join(names, ", "))
}
