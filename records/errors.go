package records

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/policy"
)

// ErrTooFewShares is returned by [Quorum.Open] when fewer custodians than the
// committee's threshold answered in time with something that could be used. It
// is a matter of availability: asking again later may help.
var ErrTooFewShares = errors.New("too few custodian shares")

// ErrClosed is returned by a [Quorum] that has been closed.
var ErrClosed = errors.New("quorum is closed")

// ErrBroken is wrapped when enough honest custodians answered and an envelope
// still does not open: it was altered, or never sealed properly.
var ErrBroken = errors.New("envelope does not open")

// Reasons for which a custodian refuses a release beyond those of policy.
const (
	RefusedBehind  = "behind"        // it does not hold the entry yet
	RefusedClock   = "clock"         // the entry's time is too far from its own clock, or its clock went back
	RefusedLate    = "late"          // after the request's not-after
	RefusedUnknown = "unknown-entry" // the entry does not permit this request
	RefusedBad     = "bad-request"   // malformed, not what the entry says, not to be shown, or under a false account of why
)

// available says whether a refusal may pass with time; it is then no verdict
// on the request.
func available(refusal string) bool {
	return refusal == RefusedBehind || refusal == RefusedClock || refusal == RefusedLate
}

// RefusedError is returned by [Quorum.Open] when so many custodians refused
// that no quorum is left, and more than may lie.
type RefusedError struct {
	Reason policy.Reason // what most of them said; one of policy's, or a Refused… constant
	By     []int         // the custodians that refused, ascending
}

func (e *RefusedError) Error() string {
	by := strings.Join(lo.Map(e.By, func(i int, _ int) string { return strconv.Itoa(i) }), ", ")
	return fmt.Sprintf("custodians %s refused: %s", by, e.Reason)
}

// CustodianError says what one custodian did wrong, or that it could not be
// reached.
type CustodianError struct {
	Custodian int
	Lied      bool // it answered, and the answer is provably not an honest one
	Err       error
}

func (e *CustodianError) Error() string {
	return fmt.Sprintf("custodian %d: %v", e.Custodian, e.Err)
}

func (e *CustodianError) Unwrap() error { return e.Err }

// TreeError says where an access tree's text is not understood.
type TreeError struct {
	Offset int // in bytes
	Reason string
}

func (e *TreeError) Error() string {
	return fmt.Sprintf("access tree, byte %d: %s", e.Offset, e.Reason)
}

// SkeletonError says why a resource that came from the store is not a skeleton
// of ours, or no longer the one that was written.
type SkeletonError struct {
	Foreign bool // no envelope at all: somebody else's resource
	Reason  string
	Err     error // what the envelope's decoder said; may be nil
}

func (e *SkeletonError) Error() string {
	if e.Err != nil {
		return "skeleton: " + e.Reason + ": " + e.Err.Error()
	}
	return "skeleton: " + e.Reason
}

func (e *SkeletonError) Unwrap() error { return e.Err }

// UnsupportedTypeError is returned for resource types that cannot be sealed.
type UnsupportedTypeError struct{ Type string }

func (e *UnsupportedTypeError) Error() string {
	return fmt.Sprintf("resources of type %q cannot be sealed", e.Type)
}
