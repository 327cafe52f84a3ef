package chain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cosig "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is what a log signs: how many entries, and the root of their tree.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   [32]byte
}

// maxSize bounds sizes and indexes: what an int64 of package tlog holds, with
// room for the indexes of inner nodes.
const maxSize = 1 << 48

// Text is the signed text (tlog-checkpoint). It has no extension lines.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// Sign returns the signed note.
func (c Checkpoint) Sign(signer note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.Text()}, signer)
}

// ParseCheckpointText is the inverse of [Checkpoint.Text]; it accepts nothing
// else.
func ParseCheckpointText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !validOrigin(lines[0]) {
		return Checkpoint{}, errors.New("malformed checkpoint")
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	if err != nil || size > maxSize {
		return Checkpoint{}, errors.New("malformed checkpoint size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, errors.New("malformed checkpoint root")
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: [32]byte(root)}
	if c.Text() != text {
		return Checkpoint{}, errors.New("checkpoint is not canonical")
	}
	return c, nil
}

// OpenCheckpoint verifies the log's signature on a checkpoint and parses it.
// Every signature of the cosigners given is verified too; those of others are
// passed over and returned as unknown in the note.
func OpenCheckpoint(signed []byte, log note.Verifier, cosigners ...note.Verifier) (Checkpoint, *note.Note, error) {
	if len(signed) > 1<<16 {
		return Checkpoint{}, nil, errors.New("checkpoint too long")
	}
	n, err := note.Open(signed, note.VerifierList(append([]note.Verifier{log}, cosigners...)...))
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("checkpoint: %w", err)
	}
	// Package note drops what is doubled and forgives the last bits of base64: a
	// checkpoint has one form here, so that every byte of it counts.
	if _, lines, err := splitNote(signed); err != nil || bytes.Count(lines, []byte("\n")) != len(n.Sigs)+len(n.UnverifiedSigs) {
		return Checkpoint{}, nil, errors.New("checkpoint: doubled signature")
	}
	for _, sig := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return Checkpoint{}, nil, fmt.Errorf("checkpoint: signature of %s is not canonical", sig.Name)
		}
	}
	if !slices.ContainsFunc(n.Sigs, func(s note.Signature) bool { return s.Name == log.Name() && s.Hash == log.KeyHash() }) {
		return Checkpoint{}, nil, fmt.Errorf("checkpoint: not signed by %s", log.Name())
	}
	c, err := ParseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return c, n, nil
}

// Cosign returns the signature line of a cosigner for a signed checkpoint: what
// a witness answers with (tlog-witness). The signer has usually been made by
// [NewCosigner]. The caller vouches for having followed the log to that size.
func Cosign(checkpoint []byte, signer note.Signer) ([]byte, error) {
	text, _, err := splitNote(checkpoint)
	if err != nil {
		return nil, err
	}
	sig, err := signer.Sign([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	return []byte(signatureLine(signer.Name(), signer.KeyHash(), sig)), nil
}

// VerifyCosignature checks a signature line over a checkpoint and returns the
// time in it, whole seconds.
func VerifyCosignature(checkpoint, line []byte, v note.Verifier) (time.Time, error) {
	text, _, err := splitNote(checkpoint)
	if err != nil {
		return time.Time{}, err
	}
	n, err := note.Open(slices.Concat([]byte(text), []byte("\n"), line), note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 {
		return time.Time{}, fmt.Errorf("cosignature of %s does not verify", v.Name())
	}
	if string(line) != "— "+n.Sigs[0].Name+" "+n.Sigs[0].Base64+"\n" {
		return time.Time{}, errors.New("cosignature is not one line")
	}
	return cosig.CoSigV1Timestamp(n.Sigs[0])
}

// NewCosigner returns a timestamping signer (tlog-cosignature v1, type 0x04) of
// an Ed25519 key, and its vkey. The clock gives the time in the signature.
func NewCosigner(name string, key ed25519.PrivateKey, now func() time.Time) (note.Signer, string, error) {
	if len(key) != ed25519.PrivateKeySize || !validOrigin(name) {
		return nil, "", errors.New("cosigner: name or key")
	}
	if now == nil {
		now = time.Now
	}
	public := append([]byte{algCosignature}, key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(name+"\n"), public...))
	hash := binary.BigEndian.Uint32(sum[:])
	vkey := fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(public))
	return &cosigner{name: name, hash: hash, key: key, now: now}, vkey, nil
}

// NewCosignVerifier checks cosignatures of a vkey of type 0x04.
func NewCosignVerifier(vkey string) (note.Verifier, error) {
	v, err := cosig.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return nil, fmt.Errorf("cosigner key: %w", err)
	}
	// A key of type 0x01 would be taken as 0x04 under another hash: insist, so
	// that one key has one name.
	if !strings.HasPrefix(vkey, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash())) {
		return nil, errors.New("cosigner key: not of type 0x04")
	}
	return v, nil
}

const algCosignature = 0x04 // tlog-cosignature v1: timestamped Ed25519

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
	now  func() time.Time
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

// Sign makes a cosignature/v1 of a checkpoint's text: the time, then Ed25519
// over header, time and text.
func (c *cosigner) Sign(text []byte) ([]byte, error) {
	if _, err := ParseCheckpointText(string(text)); err != nil {
		return nil, err
	}
	at := uint64(max(c.now().Unix(), 0))
	message := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text)
	out := binary.BigEndian.AppendUint64(nil, at)
	return append(out, ed25519.Sign(c.key, message)...), nil
}

func signatureLine(name string, hash uint32, sig []byte) string {
	raw := append(binary.BigEndian.AppendUint32(nil, hash), sig...)
	return "— " + name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
}

// splitNote cuts a signed note into its text and its signature lines.
func splitNote(signed []byte) (text string, signatures []byte, err error) {
	i := bytes.LastIndex(signed, []byte("\n\n"))
	if i < 0 {
		return "", nil, errors.New("malformed note")
	}
	return string(signed[:i+1]), signed[i+2:], nil
}
