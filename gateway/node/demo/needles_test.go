package demo

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

func TestPlaintextIsFoundInEveryFormItMightLieAboutIn(t *testing.T) {
	const canary = "Jaunita130 Größe"
	utf16of := func(order binary.AppendByteOrder) []byte {
		var out []byte
		for _, u := range utf16.Encode([]rune(canary)) {
			out = order.AppendUint16(out, u)
		}
		return out
	}
	wrapped := func(before string) []byte {
		return []byte(base64.StdEncoding.EncodeToString([]byte(before + canary + " tail")))
	}
	for name, form := range map[string][]byte{
		"as it is":               []byte(canary),
		"lower case":             []byte(strings.ToLower(canary)),
		"upper case":             []byte(strings.ToUpper(canary)),
		"base64, aligned":        wrapped(""),
		"base64, one byte off":   wrapped("x"),
		"base64, two bytes off":  wrapped("xy"),
		"base64url, 2 bytes off": []byte(base64.RawURLEncoding.EncodeToString([]byte("xy" + canary + "?>?"))),
		"UTF-16, little endian":  utf16of(binary.LittleEndian),
		"UTF-16, big endian":     utf16of(binary.BigEndian),
	} {
		t.Run(name, func(t *testing.T) {
			noise := make([]byte, 5000)
			_, _ = rand.Read(noise)
			data := bytes.Join([][]byte{noise, form, noise}, nil)
			found, ok := newNeedles([]string{"somebody else", canary}).in(data)
			if !ok || found.canary != canary {
				t.Fatalf("in() = %+v, %v; want %q", found, ok, canary)
			}
		})
	}
}

func TestRandomBase64IsNotTakenForPlaintext(t *testing.T) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	sealed := base64.StdEncoding.AppendEncode(noise, noise)
	n := newNeedles([]string{"Ted955", "Reilly981", "881 Main Street", "Jaunita130"})
	if found, ok := n.in(sealed); ok {
		t.Errorf("found %q in noise", found.canary)
	}
	if n.sought != 2 {
		t.Errorf("%d canaries are looked for as they are; want the two that are long enough", n.sought)
	}
}

func BenchmarkNeedles(b *testing.B) {
	noise := make([]byte, 1<<20)
	_, _ = rand.Read(noise)
	n := newNeedles([]string{"881 Main Street", "Jaunita130"})
	b.SetBytes(int64(len(noise)))
	for b.Loop() {
		n.in(noise)
	}
}
