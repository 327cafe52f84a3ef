package chain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

func sampleBody(seq uint64) *chain.Body {
	b := &chain.Body{Salt: bytes.Repeat([]byte{7}, 32), Time: 1_700_000_000_000, Seq: seq, Entry: chaintest.Entry("Patient/a")}
	if seq == 1 {
		b.Key = bytes.Repeat([]byte{9}, 32)
	} else {
		b.Prev = 4
	}
	return b
}

func TestABodyOpensUnderItsKeyAndAtItsPlaceAlone(t *testing.T) {
	key, other := chain.NewLogKey("Patient/a"), chain.NewLogKey("Patient/a")
	body := sampleBody(2)
	record, err := key.Seal(9, body)
	if err != nil {
		t.Fatal(err)
	}
	again, err := key.Seal(9, body)
	if err != nil || !bytes.Equal(again.Body, record.Body) {
		t.Error("a body has two ciphertexts")
	}
	got, encoded, err := key.Unseal(9, record)
	if err != nil || got.Patient != "Patient/a" || !bytes.Equal(encoded, body.Encode()) {
		t.Errorf("Unseal() = %+v, %v", got, err)
	}
	if chain.LeafOf(encoded, got.Salt) != record.Leaf || record.Leaf[0] != 1 {
		t.Error("another leaf")
	}
	if _, _, err := key.Unseal(10, record); err == nil {
		t.Error("opened at another place")
	}
	if _, _, err := other.Unseal(9, record); err == nil {
		t.Error("opened with another key")
	}
	other.ID = key.ID
	if _, _, err := other.Unseal(9, record); err == nil {
		t.Error("opened with another secret")
	}
	if _, _, err := (chain.LogKey{ID: key.ID}).Unseal(9, record); !errors.Is(err, chain.ErrErased) {
		t.Errorf("erased key: %v", err)
	}
	for i := range record.Body {
		tampered := record
		tampered.Body = bytes.Clone(record.Body)
		tampered.Body[i] ^= 0x80
		if _, _, err := key.Unseal(9, tampered); err == nil {
			t.Errorf("byte %d of the ciphertext does not count", i)
		}
	}
	for i := range record.Leaf {
		tampered := record
		tampered.Leaf[i] ^= 0x80
		if _, _, err := key.Unseal(9, tampered); err == nil {
			t.Errorf("byte %d of the leaf does not count", i)
		}
	}
}

func TestABodyHasOneEncoding(t *testing.T) {
	good := sampleBody(1).Encode()
	if b, err := chain.DecodeBody(good); err != nil || b.Kind != chain.Access {
		t.Fatal(err)
	}
	tree := func(edit func(m map[any]any)) []byte {
		var m map[any]any
		if err := cbor.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		mode, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			t.Fatal(err)
		}
		out, err := mode.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if !bytes.Equal(tree(func(map[any]any) {}), good) {
		t.Fatal("the test encodes otherwise")
	}
	for name, bad := range map[string][]byte{
		"trailing bytes":      append(bytes.Clone(good), 0),
		"cut":                 good[:len(good)-1],
		"empty":               nil,
		"not a map":           {0x80},
		"indefinite":          append(append([]byte{0xbf}, good[1:]...), 0xff),
		"unknown field":       tree(func(m map[any]any) { m[uint64(99)] = 1 }),
		"short salt":          tree(func(m map[any]any) { m[uint64(1)] = []byte{1} }),
		"no time":             tree(func(m map[any]any) { m[uint64(2)] = 0 }),
		"no number":           tree(func(m map[any]any) { m[uint64(3)] = 0 }),
		"first after another": tree(func(m map[any]any) { m[uint64(4)] = 5 }),
		"first without key":   tree(func(m map[any]any) { delete(m, uint64(5)) }),
		"first of many keys":  tree(func(m map[any]any) { m[uint64(5)] = make([]byte, 64) }),
		"second, short key":   tree(func(m map[any]any) { m[uint64(3)], m[uint64(5)] = 2, []byte{1} }),
		"unknown kind":        tree(func(m map[any]any) { m[uint64(10)] = "gossip" }),
		"explicit zero":       tree(func(m map[any]any) { m[uint64(27)] = 0 }),
		"too long":            make([]byte, chain.MaxBodyBytes+1),
	} {
		if _, err := chain.DecodeBody(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAnEventSaysWhatTheBodySays(t *testing.T) {
	b := sampleBody(2)
	b.Kind, b.Statement, b.SignIn = chain.Grant, []byte("statement"), 17
	e := b.Event(9)
	if e.Index != 9 || !e.At.Equal(time.UnixMilli(1_700_000_000_000)) || e.Kind != "grant" || e.Patient != "Patient/a" || e.Actor != b.Actor || e.SignIn != 17 || string(e.Statement) != "statement" {
		t.Errorf("%+v", e)
	}
}

func TestSecretsDoNotPrintThemselves(t *testing.T) {
	var raw [32]byte
	copy(raw[:], "very secret very secret very sec")
	key := chain.LogKey{Patient: "Patient/a", Key: chain.SecretOf(raw)}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", key, "secret", key.Key)
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", key, "secret", key.Key)
	asJSON, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	all := out.String() + string(asJSON) + fmt.Sprintf("%v %+v %#v %s %x %d %q", key, key, key, key, key.Key, key.Key, key.Key)
	for _, shown := range []string{"very", fmt.Sprintf("%x", raw[:8]), "118 101 114", "118, 101, 114", "dmVye"} {
		if strings.Contains(all, shown) {
			t.Errorf("%q is in %s", shown, all)
		}
	}
}

func TestALogKeyTravelsWhole(t *testing.T) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	batch := chain.Batch{First: 3, Checkpoint: []byte("checkpoint"), Records: []chain.Record{{Leaf: chain.Leaf{1, 2}, Key: chain.KeyID{3}, Body: []byte("body")}}}
	type round struct {
		Keys  []chain.LogKey
		Batch chain.Batch
	}
	sent := round{Keys: []chain.LogKey{chain.NewLogKey(""), chain.NewLogKey("Patient/a"), {ID: chain.KeyID{5}}}, Batch: batch}
	data, err := mode.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got round
	if err := cbor.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for i, k := range sent.Keys {
		if got.Keys[i] != k {
			t.Errorf("key %d differs", i)
		}
	}
	if !got.Keys[2].Erased() || got.Keys[1].Erased() {
		t.Error("erased and not erased")
	}
	if fmt.Sprint(got.Batch) != fmt.Sprint(batch) {
		t.Errorf("%v", got.Batch)
	}
	for _, bad := range [][]byte{nil, {0x80}, {0x83, 0x40, 0x60, 0x40}} {
		if err := new(chain.LogKey).UnmarshalCBOR(bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

func TestADescriptionHasOneEncoding(t *testing.T) {
	s := chaintest.NewSetup(t, "log", 2)
	good := chain.Info{Origin: chaintest.Origin, Key: s.Key, Cosigners: s.Vkeys}
	if got, err := chain.ParseInfo(good.Encode()); err != nil || !got.Equal(good) {
		t.Fatal(err)
	}
	text := string(good.Encode())
	for name, bad := range map[string]string{
		"blank":            " " + text,
		"no newline":       strings.TrimSuffix(text, "\n"),
		"unknown field":    strings.Replace(text, `{"origin"`, `{"x":1,"origin"`, 1),
		"doubled field":    strings.Replace(text, `{"origin"`, `{"origin":"a","origin"`, 1),
		"case":             strings.Replace(text, `"origin"`, `"Origin"`, 1),
		"escape":           strings.Replace(text, "log.example", "\\u006cog.example", 1),
		"two documents":    text + text,
		"no key":           string(chain.Info{Origin: "a"}.Encode()),
		"origin":           string(chain.Info{Origin: "a b", Key: s.Key}.Encode()),
		"doubled cosigner": string(chain.Info{Origin: "a", Key: s.Key, Cosigners: []string{s.Vkeys[0], s.Vkeys[0]}}.Encode()),
		"null":             "null\n",
	} {
		if _, err := chain.ParseInfo([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// The cheap bound by which most entries are admitted is never below the truth.
func TestNoBodyIsLongerThanItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resources := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) chain.Resource {
			return chain.Resource{Type: rapid.String().Draw(t, "type"), ID: rapid.String().Draw(t, "id"), Revision: rapid.Uint64().Draw(t, "revision"), Digest: make([]byte, 32)}
		}), 0, 300)
		text, texts := rapid.StringN(-1, -1, 70_000), rapid.SliceOfN(rapid.String(), 0, 300)
		e := chain.Entry{
			Kind: chain.WriteFailed, Actor: text.Draw(t, "actor"), Role: text.Draw(t, "role"), SignIn: rapid.Uint64().Draw(t, "sign-in"),
			Patient: text.Draw(t, "patient"), Action: text.Draw(t, "action"), Resources: resources.Draw(t, "resources"), Returned: resources.Draw(t, "returned"),
			Purpose: text.Draw(t, "purpose"), Decision: "permit", Reason: text.Draw(t, "reason"), Policy: make([]byte, 300),
			Grants: texts.Draw(t, "grants"), Approvals: texts.Draw(t, "approvals"), Request: make([]byte, 300), Correlation: text.Draw(t, "correlation"),
			Statement: make([]byte, 70_000), Count: rapid.Uint64().Draw(t, "count"), Client: text.Draw(t, "client"), Session: text.Draw(t, "session"),
		}
		b := chain.Body{Salt: make([]byte, 32), Time: 1 << 62, Seq: 1 << 63, Prev: 1 << 63, Key: make([]byte, 32), Entry: e}
		if got, most := len(b.Encode()), e.AtMost(); got > most {
			t.Fatalf("%d bytes, at most %d", got, most)
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add(sampleBody(1).Encode())
	f.Add(sampleBody(2).Encode())
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := chain.DecodeBody(data)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Encode(), data) {
			t.Error("two encodings of one body")
		}
		if err := b.Validate(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzInfo(f *testing.F) {
	s := chaintest.NewSetup(f, "log", 2)
	f.Add(chain.Info{Origin: chaintest.Origin, Key: s.Key, Cosigners: s.Vkeys}.Encode())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := chain.ParseInfo(data)
		if err == nil && !bytes.Equal(i.Encode(), data) {
			t.Error("two encodings of one description")
		}
	})
}

func FuzzLogKey(f *testing.F) {
	key := chain.NewLogKey("Patient/a")
	data, err := key.MarshalCBOR()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var k chain.LogKey
		if err := k.UnmarshalCBOR(data); err != nil {
			return
		}
		if again, err := k.MarshalCBOR(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("two encodings of one key: %v", err)
		}
	})
}
