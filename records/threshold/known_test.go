package threshold

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/samber/lo"
)

// The answers in testdata/suite1.json were made once and are not made again: what
// was sealed in suite 1 must open for ever, so a change here is a new suite.
type knownAnswers struct {
	Committee  string   // encoded
	Shares     []string // encoded, of all custodians
	GBar       string
	Encryption []struct{ Message, Label, Entropy, Ciphertext string }
	Release    []struct {
		Custodian      int
		Context        string
		Entropy, Proof string
		Partials       []string // of all the ciphertexts above
	}
}

func readKnownAnswers(t *testing.T) (known knownAnswers, c *Committee, cts []Ciphertext, labels [][]byte) {
	t.Helper()
	readVectors(t, "suite1.json", &known)
	c = new(Committee)
	if err := c.UnmarshalBinary(unhex(t, known.Committee)); err != nil {
		t.Fatal(err)
	}
	for _, e := range known.Encryption {
		ct, err := ParseCiphertext(unhex(t, e.Ciphertext))
		if err != nil {
			t.Fatal(err)
		}
		cts, labels = append(cts, ct), append(labels, unhex(t, e.Label))
	}
	return known, c, cts, labels
}

func TestSuite1EncryptsAsEver(t *testing.T) {
	known, c, _, _ := readKnownAnswers(t)
	if got := c.GBar().String(); got != known.GBar {
		t.Errorf("Ḡ = %s, want %s", got, known.GBar)
	}
	for i, e := range known.Encryption {
		ct, err := c.encrypt([32]byte(unhex(t, e.Message)), unhex(t, e.Label), unhex(t, e.Entropy))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(ct[:]); got != e.Ciphertext {
			t.Errorf("ciphertext %d = %s, want %s", i, got, e.Ciphertext)
		}
	}
}

func TestSuite1ReleasesAndOpensAsEver(t *testing.T) {
	known, c, cts, labels := readKnownAnswers(t)
	if err := c.Verify(cts, labels); err != nil {
		t.Error(err)
	}
	gathered := make([]map[int]Partial, len(cts))
	for _, r := range known.Release {
		share, err := ParseShare(unhex(t, known.Shares[r.Custodian-1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := share.Fits(c); err != nil {
			t.Error(err)
		}
		context := unhex(t, r.Context)
		partials, proof, err := share.release(cts, context, unhex(t, r.Entropy))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(proof[:]); got != r.Proof {
			t.Errorf("custodian %d: proof %s, want %s", r.Custodian, got, r.Proof)
		}
		if err := c.VerifyPartials(r.Custodian, cts, partials, proof, context); err != nil {
			t.Error(err)
		}
		for i, partial := range partials {
			if got := hex.EncodeToString(partial[:]); got != r.Partials[i] {
				t.Errorf("custodian %d: partial %d = %s, want %s", r.Custodian, i, got, r.Partials[i])
			}
			if gathered[i] == nil {
				gathered[i] = make(map[int]Partial)
			}
			gathered[i][r.Custodian] = partial
		}
	}
	for i, e := range known.Encryption {
		message, err := c.Combine(cts[i], labels[i], gathered[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(message[:]); got != e.Message {
			t.Errorf("message %d = %s, want %s", i, got, e.Message)
		}
	}
}

// A virtual machine that was rolled back draws the same random bytes again.
func TestRepeatedRandomnessRevealsNothing(t *testing.T) {
	known, c, cts, _ := readKnownAnswers(t)
	entropy := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }

	encrypted := lo.Map([]struct{ message, label string }{{"one", "a"}, {"two", "a"}, {"one", "b"}}, func(e struct{ message, label string }, _ int) string {
		var message [32]byte
		copy(message[:], e.message)
		ct, err := c.encrypt(message, []byte(e.label), entropy(64))
		if err != nil {
			t.Fatal(err)
		}
		return string(ct[32:64]) // u = rB
	})
	if len(lo.Uniq(encrypted)) != len(encrypted) {
		t.Error("two encryptions have one nonce")
	}

	share, err := ParseShare(unhex(t, known.Shares[0]))
	if err != nil {
		t.Fatal(err)
	}
	release := func(cts []Ciphertext, context string) Proof {
		_, proof, err := share.release(cts, []byte(context), entropy(32))
		if err != nil {
			t.Fatal(err)
		}
		return proof
	}
	// The nonce is response + challenge·x.
	nonce := func(p Proof) string {
		challenge, response, err := p.decode()
		if err != nil {
			t.Fatal(err)
		}
		return string(ristretto{}.MulAdd(challenge, share.secret, response).Bytes())
	}
	first := release(cts, "context")
	if again := release(cts, "context"); again != first {
		t.Error("the same statement has two proofs from the same bytes")
	}
	for name, other := range map[string]Proof{"context": release(cts, "other"), "batch": release(cts[1:], "context")} {
		if nonce(other) == nonce(first) {
			t.Errorf("another %s has the same nonce: two equations for one unknown share", name)
		}
	}
}

// Every hash is told apart from every other, and from those of other committees.
func TestDomainsAreApart(t *testing.T) {
	var tags []string
	for _, d := range []domain{newDomain(1, "a"), newDomain(1, "ab"), newDomain(2, "a"), newDomain(1, strings.Repeat("x", maxID))} {
		for _, what := range []string{forGBar, forPad, forChallenge, forEncrypt, forProof} {
			tags = append(tags, string(d.tag(what)))
		}
		for _, context := range []string{"", "a", strings.Repeat("x", 1000)} {
			tags = append(tags, "HashToScalar-"+string(d.dleq([]byte(context))))
		}
	}
	if len(lo.Uniq(tags)) != len(tags) {
		t.Error("two domains have one tag")
	}
	if longest := lo.Max(lo.Map(tags, func(tag string, _ int) int { return len(tag) })); longest > 255 {
		t.Errorf("a tag has %d bytes", longest)
	}
	joined := lo.Map([][][]byte{{}, {nil}, {nil, nil}, {[]byte("ab")}, {[]byte("a"), []byte("b")}, {[]byte("ab"), nil}, {nil, []byte("ab")}},
		func(parts [][]byte, _ int) string { return string(appendPrefixed(nil, parts...)) })
	if len(lo.Uniq(joined)) != len(joined) {
		t.Error("two lists of parts join to one message")
	}
}

func TestSecretsAreOverwritten(t *testing.T) {
	known, _, _, _ := readKnownAnswers(t)
	share, err := ParseShare(unhex(t, known.Shares[0]))
	if err != nil {
		t.Fatal(err)
	}
	secret := share.secret
	share.Destroy()
	if secret.Equal(ristretto{}.Small(0)) != 1 {
		t.Error("a destroyed share is still in memory")
	}
	p := ristretto{}.Generator()
	p.bytes()
	p.wipe()
	if !(ristretto{}).IsIdentity(p) || p.encoded != [32]byte{} || p.known {
		t.Error("a wiped point is still in memory")
	}
}
