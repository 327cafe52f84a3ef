package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/wardkey/wardkey/chain"
)

// The key file is a header and records, all of 256 bytes, so that none crosses a
// sector and a record is overwritten whole or not at all:
//
//	header: "wardkey-keys-v1\n"  zeros  CRC-32C (4)
//	record: state (1)  patient length (1)  zeros (2)  key id (16)  secret (32)  patient (128)  zeros (72)  CRC-32C (4)
//
// An erased record keeps its id alone.
const (
	keysMagic   = "wardkey-keys-v1\n"
	keyRecord   = 256
	keyLive     = 1
	keyErased   = 2
	keyID       = 4
	keySecret   = keyID + 16
	keyPatient  = keySecret + 32
	keyChecksum = keyRecord - 4
)

func keysHeader() []byte {
	out := make([]byte, keyRecord)
	copy(out, keysMagic)
	binary.BigEndian.PutUint32(out[keyChecksum:], checksum(out[:keyChecksum]))
	return out
}

func encodeKey(k chain.LogKey) []byte {
	out := make([]byte, keyRecord)
	out[0] = keyLive
	if k.Erased() {
		k.Patient = ""
		out[0] = keyErased
	}
	out[1] = byte(len(k.Patient))
	copy(out[keyID:], k.ID[:])
	secret := k.Key.Reveal()
	copy(out[keySecret:], secret[:])
	copy(out[keyPatient:], k.Patient)
	binary.BigEndian.PutUint32(out[keyChecksum:], checksum(out[:keyChecksum]))
	return out
}

// decodeKey accepts what encodeKey makes and nothing else.
func decodeKey(b []byte) (chain.LogKey, bool) {
	if len(b) != keyRecord || int(b[1]) > chain.MaxPatientBytes {
		return chain.LogKey{}, false
	}
	k := chain.LogKey{
		ID:      chain.KeyID(b[keyID:keySecret]),
		Patient: string(b[keyPatient : keyPatient+int(b[1])]),
		Key:     chain.SecretOf([32]byte(b[keySecret:keyPatient])),
	}
	return k, bytes.Equal(encodeKey(k), b)
}

// half reports whether a record is an erasure that was interrupted: it says so,
// and the secret is gone, but the rest is not of one piece.
func half(b []byte) bool {
	return len(b) == keyRecord && b[0] == keyErased && !slices.ContainsFunc(b[keySecret:keyPatient], func(c byte) bool { return c != 0 })
}

// ReadKeys decodes a key file. The error is a [*DamageError] for the header, or
// the first record, that is not whole; it is Torn where no whole record follows.
func ReadKeys(data []byte) ([]chain.LogKey, error) {
	if !bytes.Equal(data[:min(keyRecord, len(data))], keysHeader()) {
		return nil, &DamageError{File: keysFile, Reason: "not a header", Torn: !keyFollows(data, keyRecord)}
	}
	var keys []chain.LogKey
	for at := keyRecord; at < len(data); at += keyRecord {
		k, ok := decodeKey(data[at:min(at+keyRecord, len(data))])
		if !ok {
			return keys, &DamageError{File: keysFile, Offset: int64(at), Reason: "not a key", Torn: !keyFollows(data, at+keyRecord)}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// keyFollows reports whether there is a whole record at or behind an offset.
func keyFollows(data []byte, at int) bool {
	for ; at+keyRecord <= len(data); at += keyRecord {
		if _, ok := decodeKey(data[at : at+keyRecord]); ok {
			return true
		}
	}
	return false
}

// maxKeyFile bounds a key file: four million patients.
const maxKeyFile = 1 << 30

// openKeys reads the key file. Records at its end that are not whole are of keys
// that have not been used yet; if they have, package chain misses them.
func (s *Store) openKeys() error {
	f, err := s.files.Open(keysFile, ForReading)
	if errors.Is(err, ErrNoFile) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := readAll(f, keysFile, maxKeyFile)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for at := keyRecord; at+keyRecord <= len(data); at += keyRecord {
		record := data[at : at+keyRecord]
		if _, ok := decodeKey(record); !ok && half(record) {
			copy(record, encodeKey(chain.LogKey{ID: chain.KeyID(record[keyID:keySecret])}))
			s.keysTorn = true
		}
	}
	keys, err := ReadKeys(data)
	if d, ok := errors.AsType[*DamageError](err); ok && d.Torn {
		s.keysTorn = true
		s.log.Warn("interrupted write", "file", keysFile, "offset", d.Offset)
	} else if err != nil {
		return err
	}
	s.keys = keys
	return nil
}

// settleKeys finishes erasures that were interrupted and cuts what is not whole.
func (s *Store) settleKeys() error {
	if !s.keysTorn {
		return nil
	}
	if err := s.openKeyFile(); err != nil {
		return err
	}
	if len(s.keys) == 0 {
		if err := cut(s.keyFile, 0); err != nil {
			return err
		}
	}
	for i, k := range s.keys {
		if k.Erased() {
			if _, err := s.keyFile.WriteAt(encodeKey(k), keyOffset(i)); err != nil {
				return err
			}
		}
	}
	if len(s.keys) > 0 {
		if err := cut(s.keyFile, keyOffset(len(s.keys))); err != nil {
			return err
		}
	}
	s.keysTorn = false
	return nil
}

func keyOffset(place int) int64 { return int64(place+1) * keyRecord }

func (s *Store) openKeyFile() (err error) {
	if s.keyFile != nil {
		return nil
	}
	if s.keyFile, err = s.files.Open(keysFile, ForWriting); err != nil {
		return err
	}
	return s.files.SyncDir(".")
}

// Keys implements [chain.Store].
func (s *Store) Keys(context.Context) ([]chain.LogKey, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.keys), nil
}

// AppendKeys implements [chain.Store].
func (s *Store) AppendKeys(_ context.Context, keys []chain.LogKey) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.openKeyFile(); err != nil {
		return err
	}
	var data []byte
	end := keyOffset(len(s.keys))
	if len(s.keys) == 0 {
		data, end = keysHeader(), 0
	}
	for _, k := range keys {
		if len(k.Patient) > chain.MaxPatientBytes {
			return fmt.Errorf("log key of a patient id of %d bytes", len(k.Patient))
		}
		data = append(data, encodeKey(k)...)
	}
	if err := s.writeEnd(s.keyFile, data, end); err != nil {
		return fmt.Errorf("write %s: %w", keysFile, err)
	}
	s.mu.Lock()
	s.keys = append(s.keys, keys...)
	s.mu.Unlock()
	return nil
}

// EraseKey implements [chain.Store]. An erasure that was interrupted may be
// repeated, and is finished at the next start.
func (s *Store) EraseKey(_ context.Context, id chain.KeyID) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	place := slices.IndexFunc(s.keys, func(k chain.LogKey) bool { return k.ID == id })
	if place < 0 {
		return fmt.Errorf("log key %s: %w", id, chain.ErrBeyond)
	}
	if err := s.openKeyFile(); err != nil {
		return err
	}
	erased := chain.LogKey{ID: id}
	if _, err := s.keyFile.WriteAt(encodeKey(erased), keyOffset(place)); err != nil {
		return fmt.Errorf("erase in %s: %w", keysFile, err)
	}
	if err := s.keyFile.Sync(); err != nil {
		return fmt.Errorf("erase in %s: %w", keysFile, err)
	}
	s.mu.Lock()
	s.keys[place] = erased
	s.mu.Unlock()
	return nil
}
