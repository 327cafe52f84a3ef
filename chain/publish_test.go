package chain_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cosig "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

// cosigners are those whose signatures a published checkpoint carries, as other
// people's code verifies them.
func cosigners(t *testing.T, s *chaintest.Setup, published []byte) []string {
	t.Helper()
	verifiers := []note.Verifier{s.Verifier}
	for _, vkey := range s.Vkeys {
		v, err := cosig.NewVerifierForCosignatureV1(vkey)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(published, note.VerifierList(verifiers...))
	if err != nil {
		t.Fatal(err)
	}
	if len(n.UnverifiedSigs) > 0 {
		t.Errorf("unknown signatures: %v", n.UnverifiedSigs)
	}
	var names []string
	for _, sig := range n.Sigs {
		if sig.Name != chaintest.Origin {
			at, err := cosig.CoSigV1Timestamp(sig)
			if err != nil || at.Unix() != s.Now().Unix() {
				t.Errorf("cosigned at %v, %v", at, err)
			}
			names = append(names, sig.Name)
		}
	}
	return names
}

func size(t *testing.T, s *chaintest.Setup, checkpoint []byte) uint64 {
	t.Helper()
	c, _, err := chain.OpenCheckpoint(checkpoint, s.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	return c.Size
}

func TestThePublishedCheckpointCarriesTheCustodiansSignatures(t *testing.T) {
	s, store := chaintest.NewSetup(t, "log", 4), chaintest.NewStore()
	now := time.Now()
	s.Now = func() time.Time { return now }
	l := s.Open(t, store)
	if got := size(t, s, l.Published()); got != 1 {
		t.Errorf("published size %d at the beginning", got)
	}
	chaintest.Fill(t, l, 5)
	s.Cosign(t, l, 3)
	if got := cosigners(t, s, l.Published()); len(got) != 3 {
		t.Errorf("cosigned by %v", got)
	}
	five := l.Checkpoint()
	late, err := chain.Cosign(five, s.Cosigners[3])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Cosign(five, late), l.Publish(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := cosigners(t, s, l.Published()); len(got) != 4 {
		t.Errorf("cosigned by %v, the last one late", got)
	}

	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	older := l.Checkpoint()
	chaintest.Append(t, l, chaintest.Entry("Patient/a"))
	newer := l.Checkpoint()
	for i, c := range s.Cosigners {
		checkpoint := older
		if i == 3 {
			checkpoint = newer // only one has come this far
		}
		line, err := chain.Cosign(checkpoint, c)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Cosign(checkpoint, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := size(t, s, l.Published()); got != size(t, s, older) {
		t.Errorf("published size %d, want that which three have cosigned", got)
	}
	if stored, err := store.Published(t.Context()); err != nil || !bytes.Equal(stored, l.Published()) {
		t.Errorf("stored %q, %v", stored, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.Open(t, store)
	if got := cosigners(t, s, again.Published()); len(got) != 1 || size(t, s, again.Published()) != again.Size() {
		t.Errorf("on closing, the newest with its one cosignature; got %v at %d of %d", got, size(t, s, again.Published()), again.Size())
	}
}

func TestCosignRefusesWhatIsNotTheLogs(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	stranger := chaintest.NewSetup(t, "stranger", 2)
	l := s.Open(t, chaintest.NewStore())
	chaintest.Fill(t, l, 5)
	checkpoint := l.Checkpoint()
	good, err := chain.Cosign(checkpoint, s.Cosigners[0])
	if err != nil {
		t.Fatal(err)
	}
	strange, err := chain.Cosign(checkpoint, stranger.Cosigners[0])
	if err != nil {
		t.Fatal(err)
	}
	invented, err := (chain.Checkpoint{Origin: chaintest.Origin, Size: 6, Root: [32]byte{1}}).Sign(s.Signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ checkpoint, line []byte }{
		"stranger":            {checkpoint, strange},
		"two lines":           {checkpoint, append(bytes.Clone(good), good...)},
		"no line":             {checkpoint, nil},
		"no newline":          {checkpoint, good[:len(good)-1]},
		"invented checkpoint": {invented, good},
		"no checkpoint":       {nil, good},
	} {
		if err := l.Cosign(tc.checkpoint, tc.line); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	bad := bytes.Clone(good)
	bad[len(bad)-20] ^= 1 // found when it would be published
	if err := errors.Join(l.Cosign(checkpoint, bad), l.Publish(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := cosigners(t, s, l.Published()); len(got) != 0 {
		t.Errorf("published with a bad signature of %v", got)
	}
	if err := errors.Join(l.Cosign(checkpoint, good), l.Publish(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := cosigners(t, s, l.Published()); len(got) != 1 {
		t.Errorf("cosigned by %v", got)
	}
}

func TestPublishedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chaintest.NewSetup(t, "log", 0)
		c := s.Config(chaintest.NewStore())
		c.PublishEvery = time.Second
		l, err := chain.Open(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		changes, last := 0, l.Published()
		for range 40 {
			chaintest.Append(t, l, chaintest.Entry("Patient/a"))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if now := l.Published(); !bytes.Equal(now, last) {
				changes, last = changes+1, now
			}
		}
		if changes < 3 || changes > 4 {
			t.Errorf("published %d times in four seconds", changes)
		}
		time.Sleep(2 * time.Second)
		if size(t, s, l.Published()) != l.Size() {
			t.Error("the last checkpoint was not published")
		}
	})
}

func TestACosignedCheckpointStaysPublishedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chaintest.NewSetup(t, "log", 1)
		c := s.Config(chaintest.NewStore())
		c.PublishEvery = time.Second
		l, err := chain.Open(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		chaintest.Fill(t, l, 3)
		s.Cosign(t, l, 1)
		cosigned := l.Published()
		chaintest.Fill(t, l, 3) // and the custodian is gone
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = chain.Open(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		time.Sleep(5 * time.Second)
		if !bytes.Equal(l.Published(), cosigned) {
			t.Error("it was replaced by one that nobody had cosigned")
		}
		time.Sleep(10 * time.Second)
		if size(t, s, l.Published()) != l.Size() {
			t.Error("nothing is published while the custodians are silent")
		}
	})
}

func TestACosignatureIsForOneTextAndOneKey(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	l := s.Open(t, chaintest.NewStore())
	first := l.Checkpoint()
	chaintest.Fill(t, l, 1)
	second := l.Checkpoint()
	line, err := chain.Cosign(first, s.Cosigners[0])
	if err != nil {
		t.Fatal(err)
	}
	verifiers, err := l.Info().CosignVerifiers()
	if err != nil {
		t.Fatal(err)
	}
	if at, err := chain.VerifyCosignature(first, line, verifiers[0]); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("VerifyCosignature() = %v, %v", at, err)
	}
	if _, err := chain.VerifyCosignature(second, line, verifiers[0]); err == nil {
		t.Error("holds for another checkpoint")
	}
	if _, err := chain.VerifyCosignature(first, line, verifiers[1]); err == nil {
		t.Error("holds for another key")
	}
	if _, err := s.Cosigners[0].Sign([]byte("anything\n")); err == nil {
		t.Error("a cosigner signed what is no checkpoint")
	}
	if _, err := chain.NewCosignVerifier(s.Key); err == nil {
		t.Error("a log's key was taken for a cosigner's")
	}
}

func TestParseCheckpointAcceptsOneForm(t *testing.T) {
	good := chain.Checkpoint{Origin: "log.example/ward", Size: 12, Root: [32]byte{7}}.Text()
	if c, err := chain.ParseCheckpointText(good); err != nil || c.Size != 12 {
		t.Errorf("%+v, %v", c, err)
	}
	lines := strings.Split(good, "\n")
	for _, bad := range []string{
		"", good + "\n", good + "extension\n", strings.TrimSuffix(good, "\n"),
		lines[0] + "\n012\n" + lines[2] + "\n", lines[0] + "\n+12\n" + lines[2] + "\n",
		lines[0] + "\n99999999999999999\n" + lines[2] + "\n", "\n12\n" + lines[2] + "\n",
		lines[0] + "\n12\n" + lines[2][:40] + "\n", lines[0] + "\n12\n" + strings.Replace(lines[2], "AA=", "AB=", 1) + "\n",
	} {
		if _, err := chain.ParseCheckpointText(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	s := chaintest.NewSetup(f, "log", 1)
	s.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	genuine := chain.Checkpoint{Origin: chaintest.Origin, Size: 7, Root: [32]byte{1, 2, 3}}
	signed, err := genuine.Sign(s.Signer)
	if err != nil {
		f.Fatal(err)
	}
	line, err := chain.Cosign(signed, s.Cosigners[0])
	if err != nil {
		f.Fatal(err)
	}
	cosigner, err := chain.NewCosignVerifier(s.Vkeys[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(append(bytes.Clone(signed), line...))
	f.Add([]byte("log.example/ward\n1\nAAAA\n\n— x y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, n, err := chain.OpenCheckpoint(data, s.Verifier, cosigner)
		if err != nil {
			return
		}
		if c != genuine || n.Text != c.Text() {
			t.Errorf("the log never signed %+v", c)
		}
	})
}
