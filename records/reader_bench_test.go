package records

import (
	"testing"
	"time"
)

// BenchmarkReader is the gateway's own part of a read, beside log and calls: a
// reader key, three boxes opened, the shares combined, the payload opened.
func BenchmarkReader(b *testing.B) {
	l := newLab(b)
	_, e := l.sealed(b)
	q := &Quorum{config: QuorumConfig{Committee: l.committee, Lifetime: 20 * time.Second, Now: time.Now}}
	const index = 7
	b.ReportAllocs()
	for b.Loop() {
		o, err := q.Prepare(Asking{SignIn: 3, Action: "read", Purpose: "TREAT"}, []*Envelope{e})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		boxes := l.boxes(b, o, index)
		b.StartTimer()
		g := gathering{q: q, opening: o, index: index, boxes: map[int]good{}}
		for i, box := range boxes {
			partials, err := openBox(o.reader, o.hash, index, box, 1)
			if err != nil {
				b.Fatal(err)
			}
			g.boxes[i] = good{partials: partials}
		}
		if _, err := g.combine(); err != nil {
			b.Fatal(err)
		}
	}
}

// boxes are what k custodians would send.
func (l *lab) boxes(t testing.TB, o *Opening, index uint64) map[int][]byte {
	t.Helper()
	boxes := map[int][]byte{}
	for _, share := range l.shares[:l.committee.K] {
		partials, _, err := share.Release(o.ciphertexts, nil)
		if err != nil {
			t.Fatal(err)
		}
		box, err := NewBox(o.reader.PublicKey().Bytes(), o.hash, index)
		if err != nil {
			t.Fatal(err)
		}
		if boxes[share.Index()], err = box.Seal(partials); err != nil {
			t.Fatal(err)
		}
	}
	return boxes
}
