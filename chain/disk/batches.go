package disk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"

	"github.com/wardkey/wardkey/chain"
)

// openSegments finds the frames of all segments. The last segment may end in an
// interrupted write, or be one; anything else that is wrong is an error.
func (s *Store) openSegments() error {
	names, err := SegmentNames(s.files)
	if err != nil {
		return err
	}
	for i, name := range names {
		last := i == len(names)-1
		seg, err := s.openSegment(name, last)
		if d, ok := errors.AsType[*DamageError](err); ok && d.Torn && last {
			s.torn = true
			s.log.Warn("interrupted write", "file", name, "offset", d.Offset, "reason", d.Reason)
			if d.Offset == 0 {
				break // not even its header is whole: it holds nothing
			}
		} else if err != nil {
			return err
		}
		s.segments, s.size = append(s.segments, seg), seg.next
	}
	if s.readOnly || len(s.segments) == 0 {
		return nil
	}
	s.active, err = s.files.Open(s.segments[len(s.segments)-1].name, ForWriting)
	return err
}

// openSegment reads the frames of a segment; payloads too when it is the last,
// whose end may not be whole.
func (s *Store) openSegment(name string, last bool) (*segment, error) {
	f, err := s.files.Open(name, ForReading)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	seg := &segment{name: name, first: s.size, next: s.size, end: segmentHeader}
	first, _, err := walk(f, name, 0, size, last, func(offset int64, fr frame, _ chain.Batch) error {
		if fr.first != seg.next {
			return &DamageError{File: name, Offset: offset, Reason: fmt.Sprintf("batch of entry %d where %d is next", fr.first, seg.next)}
		}
		seg.add(fr)
		return nil
	})
	if _, torn := errors.AsType[*DamageError](err); err != nil && !torn {
		return nil, err
	}
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.Offset > 0 {
		if first != seg.first || SegmentName(first) != name {
			return nil, &DamageError{File: name, Reason: fmt.Sprintf("begins with entry %d where %d is next", first, seg.first)}
		}
	}
	return seg, err
}

// settleSegments cuts what is behind the last whole batch.
func (s *Store) settleSegments() error {
	if !s.torn {
		return nil
	}
	names, err := SegmentNames(s.files)
	if err != nil {
		return err
	}
	if len(names) > len(s.segments) {
		if err := s.files.Remove(names[len(names)-1]); err != nil {
			return err
		}
		if err := s.files.SyncDir(segmentsDir); err != nil {
			return err
		}
	}
	if n := len(s.segments); n > 0 {
		if err := cut(s.active, s.segments[n-1].end); err != nil {
			return err
		}
	}
	s.torn = false
	return nil
}

func cut(f File, end int64) error {
	if err := f.Truncate(end); err != nil {
		return err
	}
	return f.Sync()
}

// Append implements [chain.Store]: one write and one fdatasync. When the write
// fails it is undone and the next one may succeed, as after a full disk has been
// cleared; when it cannot be undone, or when syncing failed, nobody knows what is
// on the disk, and the store refuses until it is opened again.
func (s *Store) Append(_ context.Context, b chain.Batch) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if b.First != s.size { // nobody else changes it
		return fmt.Errorf("batch of entry %d where %d is next", b.First, s.size)
	}
	data, err := appendFrame(nil, b)
	if err != nil {
		return err
	}
	if n := len(s.segments); n == 0 || s.segments[n-1].end >= s.segmentBytes {
		if err := s.roll(); err != nil {
			return fmt.Errorf("new segment: %w", err)
		}
	}
	seg := s.segments[len(s.segments)-1]
	if err := s.writeEnd(s.active, data, seg.end); err != nil {
		return fmt.Errorf("write %s: %w", seg.name, err)
	}
	f, _ := parseFrameHeader(data)
	s.mu.Lock()
	seg.add(f)
	s.size = b.End()
	s.mu.Unlock()
	return nil
}

// writeEnd writes behind the end of a file and syncs it.
func (s *Store) writeEnd(f File, data []byte, end int64) error {
	if _, err := f.WriteAt(data, end); err != nil {
		if undo := cut(f, end); undo != nil {
			s.fail(errors.Join(err, undo))
		}
		return err
	}
	if err := f.Sync(); err != nil {
		s.fail(errors.Join(err, cut(f, end)))
		return err
	}
	return nil
}

// roll begins a new segment.
func (s *Store) roll() error {
	seg := &segment{name: SegmentName(s.size), first: s.size, next: s.size, end: segmentHeader}
	f, err := s.files.Open(seg.name, ForReplacing)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(appendSegmentHeader(nil, seg.first), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.files.SyncDir(segmentsDir)
	}
	if err != nil {
		return errors.Join(err, f.Close(), s.files.Remove(seg.name))
	}
	if s.active != nil {
		if err := s.active.Close(); err != nil { // all of it was synced
			s.log.Warn("close segment", "error", err)
		}
	}
	s.active = f
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.mu.Unlock()
	return nil
}

// span is a stretch of a segment that does not change any more.
type span struct {
	name     string
	from, to int64
}

// spans are where the batches from an index on are.
func (s *Store) spans(index uint64) []span {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].next > index })
	var out []span
	for i, seg := range s.segments[at:] {
		from := int64(segmentHeader)
		if i == 0 {
			if n := sort.Search(len(seg.marks), func(j int) bool { return seg.marks[j].first > index }); n > 0 {
				from = seg.marks[n-1].offset
			}
		}
		out = append(out, span{name: seg.name, from: from, to: seg.end})
	}
	return out
}

var errEnough = errors.New("enough")

// Batches implements [chain.Store]. It ends where the log ended when it was
// called.
func (s *Store) Batches(ctx context.Context, from uint64) iter.Seq2[chain.Batch, error] {
	return func(yield func(chain.Batch, error) bool) {
		for _, sp := range s.spans(from) {
			err := s.walkSpan(ctx, sp, func(b chain.Batch) error {
				if b.End() <= from {
					return nil
				}
				if !yield(b, nil) {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(chain.Batch{}, err)
				return
			}
		}
	}
}

func (s *Store) walkSpan(ctx context.Context, sp span, visit func(chain.Batch) error) error {
	f, err := s.files.Open(sp.name, ForReading)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, err = walk(f, sp.name, sp.from, sp.to, true, func(_ int64, _ frame, b chain.Batch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(b)
	})
	return err
}
