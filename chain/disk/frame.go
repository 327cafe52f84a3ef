package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/wardkey/wardkey/chain"
)

// A segment begins with a header of 64 bytes:
//
//	"wardkey-seg-v1\n\0"  first index (8)  zeros (36)  CRC-32C of all that (4)
//
// and goes on with frames, one a batch:
//
//	"wkb1"  payload length (4)  first index (8)  records (4)  checkpoint length (4)  CRC-32C of all that (4)
//	payload: records, each leaf (33), key id (16), body length (4), body; then the checkpoint
//	CRC-32C of the payload (4)
//
// Numbers are big-endian.
const (
	segmentMagic  = "wardkey-seg-v1\n\x00"
	segmentHeader = 64
	frameMagic    = "wkb1"
	frameHeader   = 28
	frameTrailer  = 4
	recordHeader  = chain.LeafBytes + 16 + 4

	maxPayload    = 64 << 20
	maxCheckpoint = 1 << 16
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func appendSegmentHeader(out []byte, first uint64) []byte {
	start := len(out)
	out = append(out, segmentMagic...)
	out = binary.BigEndian.AppendUint64(out, first)
	out = append(out, make([]byte, segmentHeader-len(segmentMagic)-8-4)...)
	return binary.BigEndian.AppendUint32(out, checksum(out[start:]))
}

func parseSegmentHeader(b []byte) (first uint64, reason string) {
	if len(b) < segmentHeader {
		return 0, "segment header is cut short"
	}
	first = binary.BigEndian.Uint64(b[len(segmentMagic):])
	if string(b[:segmentHeader]) != string(appendSegmentHeader(nil, first)) {
		return 0, "not a segment header"
	}
	return first, ""
}

// appendFrame encodes a batch.
func appendFrame(out []byte, b chain.Batch) ([]byte, error) {
	payload := len(b.Checkpoint)
	for _, r := range b.Records {
		payload += recordHeader + len(r.Body)
	}
	if payload > maxPayload || len(b.Checkpoint) > maxCheckpoint || len(b.Records) == 0 {
		return nil, fmt.Errorf("batch of %d records and %d bytes", len(b.Records), payload)
	}
	start := len(out)
	out = append(out, frameMagic...)
	out = binary.BigEndian.AppendUint32(out, uint32(payload))
	out = binary.BigEndian.AppendUint64(out, b.First)
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Records)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Checkpoint)))
	out = binary.BigEndian.AppendUint32(out, checksum(out[start:]))
	start = len(out)
	for _, r := range b.Records {
		out = append(out, r.Leaf[:]...)
		out = append(out, r.Key[:]...)
		out = binary.BigEndian.AppendUint32(out, uint32(len(r.Body)))
		out = append(out, r.Body...)
	}
	out = append(out, b.Checkpoint...)
	return binary.BigEndian.AppendUint32(out, checksum(out[start:])), nil
}

// frame is a frame's header.
type frame struct {
	first      uint64
	records    int
	payload    int
	checkpoint int
}

func (f frame) end() uint64  { return f.first + uint64(f.records) }
func (f frame) bytes() int64 { return int64(frameHeader + f.payload + frameTrailer) }

func parseFrameHeader(b []byte) (f frame, ok bool) {
	if len(b) < frameHeader || string(b[:4]) != frameMagic ||
		binary.BigEndian.Uint32(b[24:]) != checksum(b[:24]) {
		return frame{}, false
	}
	f = frame{
		first:      binary.BigEndian.Uint64(b[8:]),
		records:    int(binary.BigEndian.Uint32(b[16:])),
		payload:    int(binary.BigEndian.Uint32(b[4:])),
		checkpoint: int(binary.BigEndian.Uint32(b[20:])),
	}
	if f.payload > maxPayload || f.checkpoint > maxCheckpoint || f.records == 0 || f.first > 1<<48 ||
		int64(f.records)*recordHeader+int64(f.checkpoint) > int64(f.payload) {
		return frame{}, false
	}
	return f, true
}

// parsePayload decodes payload and trailer. The batch shares their memory.
func parsePayload(f frame, b []byte) (chain.Batch, bool) {
	if len(b) != f.payload+frameTrailer || binary.BigEndian.Uint32(b[f.payload:]) != checksum(b[:f.payload]) {
		return chain.Batch{}, false
	}
	records := b[: f.payload-f.checkpoint : f.payload-f.checkpoint]
	out := chain.Batch{First: f.first, Records: make([]chain.Record, f.records)}
	for i := range out.Records {
		if len(records) < recordHeader {
			return chain.Batch{}, false
		}
		r := &out.Records[i]
		r.Leaf = chain.Leaf(records[:chain.LeafBytes])
		r.Key = chain.KeyID(records[chain.LeafBytes : chain.LeafBytes+16])
		n := int64(binary.BigEndian.Uint32(records[recordHeader-4:]))
		records = records[recordHeader:]
		if n > int64(len(records)) {
			return chain.Batch{}, false
		}
		r.Body, records = records[:n:n], records[n:]
	}
	out.Checkpoint = b[f.payload-f.checkpoint : f.payload : f.payload]
	return out, len(records) == 0
}
