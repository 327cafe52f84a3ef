package threshold

import (
	"fmt"
	"testing"
	"time"

	"github.com/gtank/ristretto255"
	"github.com/samber/lo"
)

// Every benchmark here reports how long one item takes, and "×limit": that time
// over the scalar multiplications that the item cannot do without, times what
// these cost in the same run. Both are the least of many short rounds, taken in
// turn, so that a busy machine disturbs them little and alike.
//
// The goals are 1.3, and 1.5 for combining and for an item of a batch: the rest
// is decoding and encoding points, at a tenth of a multiplication each, and
// hashing.

// cost is a scalar multiplication, or several done as one.
type cost struct {
	name string
	run  func()
	each int // how many run does
}

type costs struct {
	base   cost // s·B
	mul    cost // s·P
	double cost // a·P + b·B, public
	pair   cost // a·P + b·Q, public
	single cost // a·P, public
	sum    cost // Σ of three, secret
	bulk   cost // one of a hundred, public
}

func measured() costs {
	s := lo.Times(100, func(int) *scalar { return uniformScalar(random(64)) })
	p := lo.Map(s, func(s *scalar, _ int) *point { return ristretto{}.BaseMul(s) })
	var e ristretto255.Element
	return costs{
		base:   cost{"base", func() { e.ScalarBaseMult(s[0]) }, 1},
		mul:    cost{"mul", func() { e.ScalarMult(s[0], &p[0].element) }, 1},
		double: cost{"double", func() { e.VarTimeDoubleScalarBaseMult(s[0], &p[0].element, s[1]) }, 1},
		pair:   cost{"pair", func() { ristretto{}.VarTimeMulSum(s[:2], p[:2]) }, 1},
		single: cost{"single", func() { ristretto{}.VarTimeMulSum(s[:1], p[:1]) }, 1},
		sum:    cost{"sum", func() { ristretto{}.MulSum(s[:3], p[:3]) }, 1},
		bulk:   cost{"bulk", func() { ristretto{}.VarTimeMulSum(s, p) }, 100},
	}
}

// against runs op, which does n items, in turn with what each item needs.
func against(b *testing.B, n int, needs []cost, op func()) {
	b.Helper()
	least := make([]time.Duration, 1+len(needs))
	for b.Loop() {
		for i := range least {
			start := time.Now()
			if i == 0 {
				op()
			} else {
				for range (n + needs[i-1].each - 1) / needs[i-1].each { // as long a round, for as much disturbance
					needs[i-1].run()
				}
			}
			if took := time.Since(start); least[i] == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	item := float64(least[0].Nanoseconds()) / float64(n)
	var limit float64
	for i, need := range needs {
		rounds := (n + need.each - 1) / need.each
		limit += float64(least[i+1].Nanoseconds()) / float64(rounds*need.each)
	}
	b.ReportMetric(item/1e3, "µs/item")
	b.ReportMetric(limit/1e3, "µs-limit")
	b.ReportMetric(item/limit, "×limit")
	b.ReportMetric(0, "ns/op") // of all of it together: no use
}

// committeeOfFive is 3 of 5.
func committeeOfFive(b *testing.B) (*Committee, []*Share) {
	b.Helper()
	coefficients := lo.Times(3, func(int) *scalar { return uniformScalar(random(64)) })
	at := func(x int) *scalar {
		y := ristretto255.NewScalar()
		for i := len(coefficients) - 1; i >= 0; i-- {
			y.Add(y.Multiply(y, ristretto{}.Small(uint64(x))), coefficients[i])
		}
		return y
	}
	public := func(s *scalar) Point { return Point(ristretto{}.BaseMul(s).bytes()) }
	keys := lo.Times(5, func(i int) Point { return public(at(i + 1)) })
	c, err := NewCommittee("bench", 5, 3, 0, public(at(0)), keys)
	if err != nil {
		b.Fatal(err)
	}
	return c, lo.Times(5, func(i int) *Share {
		s, err := NewShare(c, i+1, at(i+1).Bytes())
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
}

type fixture struct {
	committee *Committee
	shares    []*Share
	cts       []Ciphertext
	labels    [][]byte
	partials  []map[int]Partial
	released  []Partial // by the first
	proof     Proof
	context   []byte
}

func newFixture(b *testing.B, n int) fixture {
	b.Helper()
	f := fixture{context: random(100)}
	f.committee, f.shares = committeeOfFive(b)
	for range n {
		label := random(250) // about a record's
		ct, err := f.committee.Encrypt([32]byte(random(32)), label)
		if err != nil {
			b.Fatal(err)
		}
		f.cts, f.labels, f.partials = append(f.cts, ct), append(f.labels, label), append(f.partials, make(map[int]Partial))
	}
	for i := len(f.shares) - 1; i >= 0; i-- {
		var err error
		if f.released, f.proof, err = f.shares[i].Release(f.cts, f.context); err != nil {
			b.Fatal(err)
		}
		for j, p := range f.released {
			f.partials[j][i+1] = p
		}
	}
	return f
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkEncrypt(b *testing.B) {
	f, c := newFixture(b, 100), measured()
	next := 0
	against(b, 1, []cost{c.base, c.base, c.mul, c.mul, c.mul}, func() {
		_, err := f.committee.Encrypt([32]byte{}, f.labels[next])
		must(b, err)
		next = (next + 1) % len(f.labels)
	})
}

// A batch does without the multiplications that its limit is made of: these are
// what each would need by itself.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, c := newFixture(b, n), measured()
			against(b, n, []cost{c.double, c.pair}, func() { must(b, f.committee.Verify(f.cts, f.labels)) })
		})
	}
}

// One by itself: x·u; for the proof d·u, x·M, r·B and r·M. In a batch all but the
// first are shared, or a part of one sum, and the limit is that first alone.
func BenchmarkRelease(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, c := newFixture(b, n), measured()
			needs := []cost{c.mul, c.single, c.mul, c.base, c.mul}
			if n > 1 {
				needs = []cost{c.mul}
			}
			against(b, n, needs, func() {
				_, _, err := f.shares[0].Release(f.cts, f.context)
				must(b, err)
			})
		})
	}
}

// One by itself: d·u and d·u′ of the fold, and the proof's two equations. A batch
// has parts of two sums in their place, against what those equations need.
func BenchmarkVerifyPartials(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, c := newFixture(b, n), measured()
			needs := []cost{c.double, c.pair}
			if n == 1 {
				needs = append(needs, c.single, c.single)
			}
			against(b, n, needs, func() {
				must(b, f.committee.VerifyPartials(1, f.cts, f.released, f.proof, f.context))
			})
		})
	}
}

func BenchmarkCombine(b *testing.B) {
	f, c := newFixture(b, 100), measured()
	next := 0
	against(b, 1, []cost{c.sum}, func() {
		_, err := f.committee.Combine(f.cts[next], f.labels[next], f.partials[next])
		must(b, err)
		next = (next + 1) % len(f.cts)
	})
}

// What the above are made of.
func BenchmarkCosts(b *testing.B) {
	c := measured()
	p := ristretto{}.BaseMul(uniformScalar(random(64)))
	encoded := p.element.Bytes()
	for _, op := range []cost{
		c.base, c.mul, c.double, c.pair, c.single, c.sum, c.bulk,
		{"encode", func() { p.element.Bytes() }, 1},
		{"decode", func() { _, _ = decodePoint(encoded) }, 1},
	} {
		b.Run(op.name, func(b *testing.B) { against(b, op.each, []cost{c.mul}, op.run) })
	}
}
