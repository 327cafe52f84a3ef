package threshold

import (
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// forge makes a ciphertext as an honest writer would, but for what bend does to
// it before the challenge and, later, to its response.
func forge(c *Committee, label []byte, bend func(ct *tdh2.Ciphertext[scalar, point]), respond func(f *scalar) *scalar) Ciphertext {
	r, s := uniformScalar(random(64)), uniformScalar(random(64))
	g := ristretto{}
	ct := tdh2.Ciphertext[scalar, point]{C: [32]byte(random(32)), U: g.BaseMul(r), UBar: g.Mul(r, c.gBar), W: g.BaseMul(s), WBar: g.Mul(s, c.gBar)}
	bend(&ct)
	e := c.oracles().Challenge(ct.C, label, ct.U, ct.W, ct.UBar, ct.WBar)
	ct.F = respond(g.MulAdd(r, e, s))
	return encode(ct)
}

func added(p, q *point) *point {
	one := ristretto{}.Small(1)
	return ristretto{}.MulSum([]*scalar{one, one}, []*point{p, q})
}

// Each of these is false by itself, and would pass in a batch whose equations
// were added up with weights that are equal, or zero.
func TestForgeriesDoNotHideInABatch(t *testing.T) {
	_, c, _, _ := readKnownAnswers(t)
	g := ristretto{}
	delta := uniformScalar(random(64))
	d := g.BaseMul(delta)
	same := func(f *scalar) *scalar { return f }
	plus := func(x *scalar) func(f *scalar) *scalar {
		return func(f *scalar) *scalar { return g.MulAdd(g.Small(1), f, x) }
	}
	honest := func(*tdh2.Ciphertext[scalar, point]) {}
	label := []byte("label")

	for name, forged := range map[string][]Ciphertext{
		"another logarithm": { // the second equation alone is false
			forge(c, label, func(ct *tdh2.Ciphertext[scalar, point]) { ct.UBar = added(ct.UBar, d) }, same),
			forge(c, label, honest, same),
		},
		"another first equation": {
			forge(c, label, func(ct *tdh2.Ciphertext[scalar, point]) { ct.W = added(ct.W, d) }, same),
			forge(c, label, honest, same),
		},
		"two that make up for each other": {
			forge(c, label, honest, plus(delta)),
			forge(c, label, honest, plus(g.Negate(delta))),
		},
		"two equations that make up for each other": {
			forge(c, label, func(ct *tdh2.Ciphertext[scalar, point]) {
				ct.W, ct.WBar = added(ct.W, d), added(ct.WBar, g.Mul(g.Negate(g.Small(1)), d))
			}, same),
			forge(c, label, honest, same),
		},
	} {
		labels := [][]byte{label, label}
		if err := c.Verify(forged[:1], labels[:1]); err == nil {
			t.Errorf("%s: the first passes by itself", name)
		}
		parts := lo.Map(forged, func(ct Ciphertext, i int) tdh2.Ciphertext[scalar, point] {
			p, err := ct.decode(i)
			if err != nil {
				t.Fatal(err)
			}
			return p
		})
		if tdh2.VerifyBatch(g, c.oracles(), c.gBar, parts, labels, randomWeights(2*len(parts))) {
			t.Errorf("%s: passes in a batch", name)
		}
		if err := c.Verify(forged, labels); err == nil {
			t.Errorf("%s: passes", name)
		}
		// That they are the forgeries they are meant to be.
		equal := lo.Times(4, func(int) *scalar { return g.Small(1) })
		sound := map[string][]*scalar{
			"another logarithm":      {g.Small(1), g.Small(0), g.Small(1), g.Small(0)},
			"another first equation": {g.Small(0), g.Small(1), g.Small(0), g.Small(1)},
		}
		if !tdh2.VerifyBatch(g, c.oracles(), c.gBar, parts, labels, lo.ValueOr(sound, name, equal)) {
			t.Errorf("%s: found out even with those weights", name)
		}
	}
}

// A proof about the fold of a batch is a proof about each: answers that are wrong
// in ways that add up to nothing are still wrong.
func TestAnswersThatMakeUpForEachOtherAreRefused(t *testing.T) {
	known, c, cts, _ := readKnownAnswers(t)
	share, err := ParseShare(unhex(t, known.Shares[0]))
	if err != nil {
		t.Fatal(err)
	}
	g := ristretto{}
	us, err := decodeUs(cts)
	if err != nil {
		t.Fatal(err)
	}
	answers := lo.Map(us, func(u *point, _ int) *point { return g.Mul(share.secret, u) })
	d := g.BaseMul(uniformScalar(random(64)))
	answers[0] = added(answers[0], d)
	answers[1] = added(answers[1], g.Mul(g.Negate(g.Small(1)), d))
	transcript := c.domain.dleq(nil)
	challenge, response := tdh2.Prove(g, transcript, share.secret, share.public, us, answers, func(_, _ *point) *scalar { return uniformScalar(random(64)) })
	partials := lo.Map(answers, func(p *point, _ int) Partial { return Partial(p.bytes()) })
	if err := c.VerifyPartials(1, cts, partials, Proof(append(challenge.Bytes(), response.Bytes()...)), nil); err == nil {
		t.Error("they pass")
	}
}
