package demo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"github.com/samber/lo"
)

// Needles are plaintext that must never lie about in the clear, in every form in
// which it might: as it is, in lower and upper case (an index normalises), in
// base64 of both alphabets at each of its three alignments (a resource within an
// attachment), and in UTF-16 of both byte orders.
type needles struct {
	byHead map[uint64][]needle // by the first headLen bytes
	filter []uint64            // a bit for each head that might be in byHead
	sought int                 // how many canaries are looked for as they are
}

type needle struct {
	canary  string
	pattern []byte
}

// A hit is where plaintext was found.
type hit struct {
	canary string // what was found
	offset int    // where it begins
}

const (
	headLen    = 6
	filterBits = 22
	// Sealed records are themselves long runs of random base64. A short word in
	// that alphabet turns up in them by chance: with some 10⁴ words and 10⁸
	// characters, eight of 64 letters would once in 300 stories, ten never.
	minBase64 = 10
	minOther  = 7 // bytes outside that alphabet turn up in binary files alone
)

func newNeedles(canaries []string) *needles {
	n := &needles{byHead: map[uint64][]needle{}, filter: make([]uint64, 1<<filterBits/64)}
	for _, canary := range lo.Uniq(canaries) {
		for _, pattern := range lo.UniqBy(forms(canary), func(p []byte) string { return string(p) }) {
			if n.add(canary, pattern) && string(pattern) == canary {
				n.sought++
			}
		}
	}
	return n
}

// add looks for pattern, unless it is so short that chance would find it.
func (n *needles) add(canary string, pattern []byte) bool {
	least := minOther
	if !bytes.ContainsFunc(pattern, func(r rune) bool { return !inBase64(r) }) {
		least = minBase64
	}
	if len(pattern) < least {
		return false
	}
	var head uint64
	for _, b := range pattern[:headLen] {
		head = head<<8 | uint64(b)
	}
	n.byHead[head] = append(n.byHead[head], needle{canary, pattern})
	bit := mix(head)
	n.filter[bit/64] |= 1 << (bit % 64)
	return true
}

// in returns the first needle in data.
func (n *needles) in(data []byte) (hit, bool) {
	const mask = 1<<(8*headLen) - 1
	var head uint64
	for i, b := range data {
		head = (head<<8 | uint64(b)) & mask
		bit := mix(head)
		if i < headLen-1 || n.filter[bit/64]>>(bit%64)&1 == 0 {
			continue
		}
		start := i - headLen + 1
		for _, x := range n.byHead[head] {
			if bytes.HasPrefix(data[start:], x.pattern) {
				return hit{canary: x.canary, offset: start}, true
			}
		}
	}
	return hit{}, false
}

// forms lists the byte strings under which text might be found.
func forms(text string) [][]byte {
	out := [][]byte{[]byte(text), []byte(strings.ToLower(text)), []byte(strings.ToUpper(text))}
	for align := range 3 {
		for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, inner64(alphabet, text, align))
		}
	}
	units := utf16.Encode([]rune(text))
	little, big := make([]byte, 0, 2*len(units)), make([]byte, 0, 2*len(units))
	for _, u := range units {
		little = binary.LittleEndian.AppendUint16(little, u)
		big = binary.BigEndian.AppendUint16(big, u)
	}
	return append(out, little, big)
}

// inner64 returns the base64 characters that text alone decides when it begins
// align bytes after a group of three: those that share no bits with what stands
// before or after it.
func inner64(alphabet *base64.Encoding, text string, align int) []byte {
	coded := []byte(alphabet.EncodeToString(append(make([]byte, align), text...)))
	from := (8*align + 5) / 6
	to := 8 * (align + len(text)) / 6
	return coded[min(from, to):to]
}

func inBase64(r rune) bool {
	return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' ||
		r == '+' || r == '/' || r == '-' || r == '_' || r == '='
}

// mix spreads a head over the filter (Fibonacci hashing).
func mix(head uint64) uint64 { return head * 0x9E3779B97F4A7C15 >> (64 - filterBits) }
