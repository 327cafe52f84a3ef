package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wardkey/wardkey/chain"
)

// segment is a file of frames. What is below end is on stable storage and does
// not change; guarded by Store.mu.
type segment struct {
	name  string
	first uint64 // index of its first record
	next  uint64 // index behind its last record
	end   int64  // offset behind the last whole frame
	marks []mark // where some frames begin: one every markEvery bytes at most
}

// mark is a place to begin reading from.
type mark struct {
	first  uint64
	offset int64
}

// markEvery bounds the index in memory to 16 bytes for as many of the log.
const markEvery = 64 << 10

func (s *segment) add(f frame) {
	if n := len(s.marks); n == 0 || s.end-s.marks[n-1].offset >= markEvery {
		s.marks = append(s.marks, mark{first: f.first, offset: s.end})
	}
	s.end += f.bytes()
	s.next = f.end()
}

// SegmentName is where the segment that begins with an index is, within the
// directory.
func SegmentName(first uint64) string {
	return fmt.Sprintf("%s/%020d%s", segmentsDir, first, segmentSuffix)
}

// SegmentNames lists the segments of a directory in order, by names within it.
// SegmentName is where the segment that begins with an index is, within the
// directory.
func SegmentNames(files Files) ([]string, error) {
	names, err := files.List(segmentsDir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for i, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 10, 64)
		if err != nil || SegmentName(n) != segmentsDir+"/"+name {
			return nil, &DamageError{File: segmentsDir + "/" + name, Reason: "not a segment"}
		}
		names[i] = segmentsDir + "/" + name
	}
	return names, nil
}

// ReadSegment calls visit for each batch of a segment, in order, with the offset
// of its frame, until visit returns an error. The first index is that in the
// file's header; it returns the offset behind the last whole batch. Where a
// frame is damaged, the error is a [*DamageError]; it is Torn where no whole
// frame follows.
func ReadSegment(f File, name string, size int64, visit func(offset int64, b chain.Batch) error) (first uint64, end int64, err error) {
	return walk(f, name, 0, size, true, func(offset int64, fr frame, b chain.Batch) error { return visit(offset, b) })
}

// walk goes through the frames of a segment from an offset, 0 being its header.
// Payloads are read and checked where whole is set, else passed over.
func walk(f File, name string, from, size int64, whole bool, visit func(int64, frame, chain.Batch) error) (first uint64, end int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, size-from), int(min(size-from, markEvery)))
	damage := func(offset int64, reason string) error {
		torn := !frameFollows(f, offset+1, size)
		return &DamageError{File: name, Offset: offset, Reason: reason, Torn: torn}
	}
	header := make([]byte, segmentHeader)
	if from == 0 {
		n, err := io.ReadFull(in, header)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, 0, err
		}
		var reason string
		if first, reason = parseSegmentHeader(header[:n]); reason != "" {
			return 0, 0, damage(0, reason)
		}
		from = segmentHeader
	}
	for from < size {
		if _, err := io.ReadFull(in, header[:frameHeader]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return first, from, damage(from, "batch is cut short")
			}
			return first, from, err
		}
		fr, ok := parseFrameHeader(header[:frameHeader])
		if !ok {
			return first, from, damage(from, "not the beginning of a batch")
		}
		if from+fr.bytes() > size {
			return first, from, damage(from, "batch is cut short")
		}
		var batch chain.Batch
		if whole {
			payload := make([]byte, fr.payload+frameTrailer)
			if _, err := io.ReadFull(in, payload); err != nil {
				return first, from, fmt.Errorf("read %s: %w", name, err)
			}
			if batch, ok = parsePayload(fr, payload); !ok {
				return first, from, damage(from, "checksum of a batch")
			}
		} else if _, err := in.Discard(fr.payload + frameTrailer); err != nil {
			return first, from, fmt.Errorf("read %s: %w", name, err)
		}
		if err := visit(from, fr, batch); err != nil {
			return first, from, err
		}
		from += fr.bytes()
	}
	return first, from, nil
}

// frameFollows looks for the beginning of a frame: there is none behind a write
// that was interrupted, since only one is under way at a time.
func frameFollows(f File, from, size int64) bool {
	const chunk = 1 << 20
	buf := make([]byte, min(chunk+frameHeader, max(size-from, 0)))
	for ; from < size; from += chunk {
		n, _ := f.ReadAt(buf[:min(int64(len(buf)), size-from)], from)
		for rest := buf[:n]; ; rest = rest[1:] {
			i := bytes.Index(rest, []byte(frameMagic))
			if i < 0 {
				break
			}
			rest = rest[i:]
			if _, ok := parseFrameHeader(rest); ok {
				return true
			}
		}
	}
	return false
}
