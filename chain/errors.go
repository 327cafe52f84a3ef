package chain

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable is wrapped by every error of [Log.Append] that says nothing
// about the entries: the store refused them, the queue is full, the clock cannot
// be right, or the log is closed. Nothing of them is visible, and nothing may be disclosed on the
// strength of them.
var ErrUnavailable = errors.New("log unavailable")

// ErrClosed is returned, with [ErrUnavailable], after Close.
var ErrClosed = errors.New("log closed")

// ErrOverloaded is returned, with [ErrUnavailable], when the queue is full.
var ErrOverloaded = errors.New("log overloaded")

// ErrTooLarge is returned for an entry, or a call, that exceeds the limits.
var ErrTooLarge = errors.New("entry too large")

// ErrInvalid is returned for an entry that no log should hold: an unknown kind,
// text that is not UTF-8, a digest of the wrong length.
var ErrInvalid = errors.New("invalid entry")

// ErrBeyond is returned for an index, a size or a key that the log has not
// reached.
var ErrBeyond = errors.New("beyond the end of the log")

// ErrErased is returned for the body of an entry whose log key was erased.
var ErrErased = errors.New("log key erased")

// ErrNotErasable is returned by Erase for a patient about whom there is no entry
// of kind [Erase] whose key is still there, or none after it.
var ErrNotErasable = errors.New("no erase entry")

// ErrClock is returned, with [ErrUnavailable], while the wall clock is ahead of
// what has passed by the monotonic clock.
var ErrClock = errors.New("wall clock has jumped forward")

// FutureError says that a batch ends in the future: its newest entry is later
// than the replica's own clock and what is allowed for. To take it over would
// have the replica call everything that comes after it late.
type FutureError struct {
	Index uint64    // of the entry
	Time  time.Time // the entry's
	Now   time.Time // by the replica's clock
}

func (e *FutureError) Error() string {
	return fmt.Sprintf("entry %d is of %s, and it is %s", e.Index, e.Time.UTC().Format(time.RFC3339Nano), e.Now.UTC().Format(time.RFC3339Nano))
}

// GapError says that a batch begins after the end of the replica, or needs keys
// that it has not been given. The caller sends what lies between.
type GapError struct {
	Have   uint64 // entries the replica holds
	Keys   uint64 // log keys the replica holds
	Ours   []byte // its own signed checkpoint; nil when it holds nothing
	Theirs []byte // the checkpoint that came with the batch
}

func (e *GapError) Error() string {
	return fmt.Sprintf("gap: replica holds %d entries and %d keys", e.Have, e.Keys)
}

// ForkError says that two checkpoints signed by the same log cannot both be of
// one append-only history, or that the records sent are not those signed for.
// Both checkpoints are kept: where both signatures hold and the records are
// genuine, they convict the log.
type ForkError struct {
	Size   uint64 // the size at which they part company
	Ours   []byte
	Theirs []byte
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("fork: another history at size %d", e.Size)
}

// RollbackError says that somebody holds a longer history of this log than the
// log itself: it was restored from a backup that is too old.
type RollbackError struct {
	Have   uint64 // entries the log holds
	Seen   uint64 // entries that the other holder has
	Ours   []byte
	Theirs []byte
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("rollback: log holds %d entries where %d were seen", e.Have, e.Seen)
}

// RecordError says which record is not what the log's rules allow.
type RecordError struct {
	Index  uint64
	Reason string
	Err    error // may be nil
}

func (e *RecordError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("entry %d: %s: %v", e.Index, e.Reason, e.Err)
	}
	return fmt.Sprintf("entry %d: %s", e.Index, e.Reason)
}

func (e *RecordError) Unwrap() error { return e.Err }
