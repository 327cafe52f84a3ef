package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	other "github.com/smartcontractkit/tdh2/go/tdh2/tdh2"

	"github.com/wardkey/wardkey/records/threshold/internal/tdh2"
)

// Their values travel as JSON, the only way in and out of their types.
type (
	theirKey struct {
		Group    string
		G_bar, H []byte
		HArray   [][]byte
	}
	theirShare struct {
		Group string
		Index int
		V     []byte
	}
	theirText struct {
		Group                    string
		C, Label, U, U_bar, E, F []byte
	}
	theirPart struct {
		Group         string
		Index         int
		U_i, E_i, F_i []byte
	}
)

// world is one committee as both see it. Their custodians count from 0.
type world struct {
	t    *testing.T
	g    p256
	k, n int

	theirs struct {
		key    *other.PublicKey
		shares []*other.PrivateShare
	}
	ours struct {
		x, gBar *point
		keys    []*point
		secrets []*scalar
	}
}

func newWorld(t *testing.T, k, n int) *world {
	w := &world{t: t, g: newP256(), k: k, n: n}
	_, key, shares, err := other.GenerateKeys(w.g.group, nil, k, n, stream())
	w.must(err)
	w.theirs.key, w.theirs.shares = key, shares

	var rawKey theirKey
	w.from(key, &rawKey)
	w.ours.x, w.ours.gBar = w.point(rawKey.H), w.point(rawKey.G_bar)
	for i, h := range rawKey.HArray {
		w.ours.keys = append(w.ours.keys, w.point(h))
		var rawShare theirShare
		w.from(shares[i], &rawShare)
		w.ours.secrets = append(w.ours.secrets, w.scalar(rawShare.V))
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) from(v interface{ Marshal() ([]byte, error) }, raw any) {
	w.t.Helper()
	b, err := v.Marshal()
	w.must(err)
	w.must(json.Unmarshal(b, raw))
}

func (w *world) to(raw any, v interface{ Unmarshal([]byte) error }) {
	w.t.Helper()
	b, err := json.Marshal(raw)
	w.must(err)
	w.must(v.Unmarshal(b))
}

func (w *world) point(b []byte) *point {
	w.t.Helper()
	p := w.g.group.Point()
	w.must(p.UnmarshalBinary(b))
	return &point{p}
}

func (w *world) scalar(b []byte) *scalar {
	w.t.Helper()
	s := w.g.group.Scalar()
	w.must(s.UnmarshalBinary(b))
	return &scalar{s}
}

type ciphertext = tdh2.Ciphertext[scalar, point]

// toTheirs gives up w and w̄ for e.
func (w *world) toTheirs(ct ciphertext, label []byte) *other.Ciphertext {
	e := encryption{w.g}.Challenge(ct.C, label, ct.U, ct.W, ct.UBar, ct.WBar)
	var theirs other.Ciphertext
	w.to(theirText{w.g.group.String(), ct.C[:], label, marshal(ct.U), marshal(ct.UBar), marshal(e), marshal(ct.F)}, &theirs)
	return &theirs
}

// toOurs computes w = fB − eu and w̄ = fḠ − eū.
func (w *world) toOurs(theirs *other.Ciphertext) ciphertext {
	var raw theirText
	w.from(theirs, &raw)
	u, uBar, f, e := w.point(raw.U), w.point(raw.U_bar), w.scalar(raw.F), w.g.Negate(w.scalar(raw.E))
	return ciphertext{
		C: [32]byte(raw.C), U: u, UBar: uBar, F: f,
		W:    w.g.VarTimeBaseMulSum(e, u, f),
		WBar: w.g.MulSum([]*scalar{f, e}, []*point{w.ours.gBar, uBar}),
	}
}

// ourPartial is made by Wardkey's Prove, in the other's form.
func (w *world) ourPartial(ct ciphertext, i int) *other.DecryptionShare {
	x := w.ours.secrets[i]
	u := w.g.Mul(x, ct.U)
	challenge, response := tdh2.Prove(w.g, proof{w.g}, x, w.ours.keys[i], []*point{ct.U}, []*point{u},
		func(_, _ *point) *scalar { return w.g.random() })
	var theirs other.DecryptionShare
	w.to(theirPart{w.g.group.String(), i, marshal(u), marshal(w.g.Negate(challenge)), marshal(response)}, &theirs)
	return &theirs
}

// checked is the other's partial decryption, if Wardkey's VerifyProof passes it.
func (w *world) checked(ct ciphertext, theirs *other.DecryptionShare) (*point, bool) {
	var raw theirPart
	w.from(theirs, &raw)
	u := w.point(raw.U_i)
	return u, tdh2.VerifyProof(w.g, proof{w.g}, w.ours.keys[raw.Index], []*point{ct.U}, []*point{u},
		w.g.Negate(w.scalar(raw.E_i)), w.scalar(raw.F_i))
}

func (w *world) encryptOurs(message [32]byte, label []byte) ciphertext {
	return tdh2.Encrypt(w.g, encryption{w.g}, w.ours.x, w.ours.gBar, w.g.random(), w.g.random(), message, label)
}

func (w *world) encryptTheirs(message [32]byte, label []byte) *other.Ciphertext {
	ct, err := other.Encrypt(w.theirs.key, message[:], label, stream())
	w.must(err)
	return ct
}

// openOurs decrypts by the other's custodians and Wardkey's checks and combining.
func (w *world) openOurs(ct ciphertext, theirs *other.Ciphertext, label []byte, custodians []int) [32]byte {
	w.t.Helper()
	var at []int
	var shares []*point
	for _, i := range custodians {
		part, err := theirs.Decrypt(w.g.group, w.theirs.shares[i], stream())
		w.must(err)
		u, ok := w.checked(ct, part)
		if !ok {
			w.t.Errorf("our check refuses the partial decryption of their custodian %d", i)
		}
		at, shares = append(at, i+1), append(shares, u)
	}
	return tdh2.Open(encryption{w.g}, ct, tdh2.Combine(w.g, at, shares), label)
}

// openTheirs decrypts by Wardkey's custodians and the other's checks and combining.
func (w *world) openTheirs(ct ciphertext, theirs *other.Ciphertext, custodians []int) []byte {
	w.t.Helper()
	var parts []*other.DecryptionShare
	for _, i := range custodians {
		part := w.ourPartial(ct, i)
		if err := other.VerifyShare(w.theirs.key, theirs, part); err != nil {
			w.t.Errorf("their check refuses the partial decryption of our custodian %d: %v", i, err)
		}
		parts = append(parts, part)
	}
	message, err := theirs.CombineShares(w.g.group, parts, w.k, w.n)
	w.must(err)
	return message
}

func forSizes(t *testing.T, test func(w *world, message [32]byte, label []byte, custodians []int)) {
	for _, size := range []struct{ k, n int }{{1, 1}, {2, 3}, {3, 4}, {3, 5}, {5, 7}} {
		t.Run(fmt.Sprintf("%d of %d", size.k, size.n), func(t *testing.T) {
			w := newWorld(t, size.k, size.n)
			var message, label [32]byte // theirs takes labels of this length alone
			rand.Read(message[:])
			rand.Read(label[:])
			for first := 0; first+size.k <= size.n; first++ { // the first k, the next …
				custodians := make([]int, size.k)
				for i := range custodians {
					custodians[i] = first + i
				}
				slices.Reverse(custodians)
				test(w, message, label[:], custodians)
			}
		})
	}
}

func TestWhatWeEncryptTheyDecrypt(t *testing.T) {
	forSizes(t, func(w *world, message [32]byte, label []byte, custodians []int) {
		ours := w.encryptOurs(message, label)
		theirs := w.toTheirs(ours, label)
		if err := theirs.Verify(w.theirs.key); err != nil {
			w.t.Fatalf("they refuse our ciphertext: %v", err)
		}
		if got := w.openOurs(ours, theirs, label, custodians); got != message {
			w.t.Error("their custodians, our combining: another message")
		}
		var parts []*other.DecryptionShare
		for _, i := range custodians {
			part, err := theirs.Decrypt(w.g.group, w.theirs.shares[i], stream())
			w.must(err)
			parts = append(parts, part)
		}
		got, err := theirs.CombineShares(w.g.group, parts, w.k, w.n)
		w.must(err)
		if !bytes.Equal(got, message[:]) {
			w.t.Error("their custodians, their combining: another message")
		}
	})
}

func TestWhatTheyEncryptWeDecrypt(t *testing.T) {
	forSizes(t, func(w *world, message [32]byte, label []byte, custodians []int) {
		theirs := w.encryptTheirs(message, label)
		ours := w.toOurs(theirs)
		if !tdh2.Verify(w.g, encryption{w.g}, w.ours.gBar, ours, label) {
			w.t.Fatal("we refuse their ciphertext")
		}
		if got := w.openTheirs(ours, theirs, custodians); !bytes.Equal(got, message[:]) {
			w.t.Error("our custodians, their combining: another message")
		}
		var at []int
		var shares []*point
		for _, i := range custodians {
			at, shares = append(at, i+1), append(shares, w.g.Mul(w.ours.secrets[i], ours.U))
		}
		if got := tdh2.Open(encryption{w.g}, ours, tdh2.Combine(w.g, at, shares), label); got != message {
			w.t.Error("our custodians, our combining: another message")
		}
	})
}

func TestBothRefuseTheSame(t *testing.T) {
	w := newWorld(t, 3, 4)
	var message, label [32]byte
	rand.Read(message[:])
	good := w.encryptOurs(message, label[:])
	another := w.encryptOurs(message, label[:])
	for name, change := range map[string]func(ct *ciphertext, label []byte){
		"message":  func(ct *ciphertext, _ []byte) { ct.C[0] ^= 1 },
		"label":    func(_ *ciphertext, label []byte) { label[0] ^= 1 },
		"u":        func(ct *ciphertext, _ []byte) { ct.U = another.U },
		"ū":        func(ct *ciphertext, _ []byte) { ct.UBar = another.UBar },
		"f":        func(ct *ciphertext, _ []byte) { ct.F = another.F },
		"nonsense": func(ct *ciphertext, _ []byte) { ct.U, ct.UBar = ct.UBar, ct.U },
	} {
		// e stays that of the good one: it is what their form carries.
		theirs := w.toTheirs(good, label[:])
		var raw theirText
		w.from(theirs, &raw)
		bad, badLabel := good, label
		change(&bad, badLabel[:])
		raw.C, raw.Label, raw.U, raw.U_bar, raw.F = bad.C[:], badLabel[:], marshal(bad.U), marshal(bad.UBar), marshal(bad.F)
		w.to(raw, theirs)
		if theirs.Verify(w.theirs.key) == nil {
			t.Errorf("%s: they pass it", name)
		}
		if tdh2.Verify(w.g, encryption{w.g}, w.ours.gBar, bad, badLabel[:]) {
			t.Errorf("%s: we pass it", name)
		}
		if tdh2.Verify(w.g, encryption{w.g}, w.ours.gBar, w.toOurs(theirs), badLabel[:]) {
			t.Errorf("%s: we pass it from their form", name)
		}
	}
	// A partial decryption of another ciphertext, and another custodian's.
	theirs := w.toTheirs(good, label[:])
	if other.VerifyShare(w.theirs.key, theirs, w.ourPartial(another, 0)) == nil {
		t.Error("they pass a replayed partial decryption of ours")
	}
	replayed, err := w.toTheirs(another, label[:]).Decrypt(w.g.group, w.theirs.shares[0], stream())
	w.must(err)
	if _, ok := w.checked(good, replayed); ok {
		t.Error("we pass a replayed partial decryption of theirs")
	}
	stolen := w.ourPartial(good, 0)
	var raw theirPart
	w.from(stolen, &raw)
	raw.Index = 1
	w.to(raw, stolen)
	if other.VerifyShare(w.theirs.key, theirs, stolen) == nil {
		t.Error("they pass one custodian's as another's")
	}
	if _, ok := w.checked(good, stolen); ok {
		t.Error("we pass one custodian's as another's")
	}
}

func TestOurBatchPassesTheirCiphertexts(t *testing.T) {
	w := newWorld(t, 2, 3)
	var cts []ciphertext
	var labels [][]byte
	var weights []*scalar
	for i := range 10 {
		var message, label [32]byte
		rand.Read(message[:])
		label[0] = byte(i)
		cts, labels = append(cts, w.toOurs(w.encryptTheirs(message, label[:]))), append(labels, label[:])
		weights = append(weights, w.g.random(), w.g.random())
	}
	if !tdh2.VerifyBatch(w.g, encryption{w.g}, w.ours.gBar, cts, labels, weights) {
		t.Error("the batch does not verify")
	}
	labels[3], labels[4] = labels[4], labels[3]
	if tdh2.VerifyBatch(w.g, encryption{w.g}, w.ours.gBar, cts, labels, weights) {
		t.Error("the batch verifies with two labels exchanged")
	}
}

func TestTheirKeysAreConsistent(t *testing.T) {
	w := newWorld(t, 3, 7)
	points := append([]*point{w.ours.x}, w.ours.keys...)
	dual := func(k int) (d []*scalar) {
		for range len(points) - k {
			d = append(d, w.g.random())
		}
		return d
	}
	if !tdh2.Consistent(w.g, points, dual(3)) {
		t.Error("their keys are no polynomial of three coefficients")
	}
	if tdh2.Consistent(w.g, points, dual(2)) {
		t.Error("they are one of two")
	}
	points[2], points[3] = points[3], points[2]
	if tdh2.Consistent(w.g, points, dual(3)) {
		t.Error("they are one in another order")
	}
}
