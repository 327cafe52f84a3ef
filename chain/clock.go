package chain

import (
	"fmt"
	"time"
)

// steady tells a wall clock that was set forward from time that has passed. The
// times of a log never decrease, so one entry under a clock that is a day ahead
// would date everything of that day after it; and custodians, whose clocks are
// right, would take none of it.
type steady struct {
	elapsed func() time.Duration // by the monotonic clock, since some moment; nil: as the readings themselves say
	first   time.Time            // the first reading
	began   time.Duration        // elapsed then
	ahead   time.Duration        // the furthest that the wall clock was ahead, of what was allowed
}

// check takes a reading, and refuses it while the wall clock is more than
// [maxAhead] further ahead of the monotonic one than it ever was. A wall clock
// that is set back, and forward again, is no matter: the log's times stand still
// meanwhile.
func (s *steady) check(now time.Time) error {
	if s.first.IsZero() {
		s.first = now
		if s.elapsed != nil {
			s.began = s.elapsed()
		}
		return nil
	}
	passed := now.Sub(s.first) // monotonic, where the readings are (package time)
	if s.elapsed != nil {
		passed = s.elapsed() - s.began
	}
	ahead := now.Round(0).Sub(s.first.Round(0)) - passed
	if ahead-s.ahead > maxAhead {
		return fmt.Errorf("%w: by %s against the monotonic clock; set it right, or open the log again if it is", ErrClock, ahead-s.ahead)
	}
	s.ahead = max(s.ahead, ahead)
	return nil
}
