package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/custodian"
	"github.com/wardkey/wardkey/records/threshold"
)

const (
	compareTime  = time.Second            // for one custodian to say where it stands
	compareEvery = 500 * time.Millisecond // between attempts
)

// errHeld is returned, with [chain.ErrUnavailable], for entries that are not to
// be written: a second history of the log might begin.
var errHeld = errors.New("the log is not known to be the custodians' own")

// A history holds this log against the custodians' copies of it. Until enough of
// them have been compared to know that no longer one exists, nothing is written
// and no request answered: a log restored from an old backup, and begun again,
// would be a second history. When a custodian shows that there is another one,
// that is so for good. What a custodian shows is signed by the log's own key; its
// mere word stops nothing.
type history struct {
	log       *chain.Log
	slog      *slog.Logger
	needed    int // custodians to compare before anything is written
	suspected chan *custodian.Client

	mu       sync.Mutex // guards the rest
	compared map[int]bool
	silent   map[int]bool // did not answer when last asked
	begun    bool         // the log held nothing but its beginning
	other    error        // the other history; for good
}

// newHistory begins without having compared anything. Of any k custodians that
// could have cosigned a longer log, at least one honest one is among n-k+f+1. A
// log that holds nothing but its genesis has nothing to repeat.
func newHistory(log *chain.Log, committee *threshold.Committee, logger *slog.Logger) *history {
	return &history{
		log: log, slog: logger, needed: committee.N - committee.K + committee.F + 1,
		suspected: make(chan *custodian.Client, committee.N), compared: map[int]bool{}, silent: map[int]bool{}, begun: log.Size() <= 1,
	}
}

// hold says why nothing may be written or answered; "" when it may.
func (h *history) hold() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.other != nil:
		return "a custodian holds another history of this log: " + h.other.Error()
	case !h.begun && len(h.compared) < h.needed:
		return fmt.Sprintf("the log has been compared with %d custodians of the %d that are needed", len(h.compared), h.needed)
	}
	return ""
}

// compare holds the log against one custodian's copy. The error is that of a
// custodian that knows another history; one that does not answer, or answers
// with what the log never signed, has no say, and does not count.
func (h *history) compare(ctx context.Context, remote *custodian.Client) error {
	asking, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	status, err := remote.Status(asking)
	if err == nil && status.Checkpoint != "" {
		err = h.log.Compare(ctx, []byte(status.Checkpoint))
	}
	rollback, rolledBack := errors.AsType[*chain.RollbackError](err)
	_, forked := errors.AsType[*chain.ForkError](err)
	switch {
	case rolledBack:
		err = fmt.Errorf("custodian %d: this log was restored from a backup that is too old; bring back entries %d to %d before it goes on: %w",
			remote.Index(), rollback.Have, rollback.Seen-1, err)
	case forked:
		err = fmt.Errorf("custodian %d: %w", remote.Index(), err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.compared[remote.Index()], h.silent[remote.Index()] = true, false
	case rolledBack, forked:
		if h.other == nil {
			h.other = err
			h.slog.Error("another history of the log: nothing more is written or answered", slog.Any("error", err))
		}
		return err
	case ctx.Err() == nil && !h.silent[remote.Index()]:
		h.silent[remote.Index()] = true // said once
		h.slog.Warn("custodian not compared", slog.Int("custodian", remote.Index()), slog.Any("error", err))
	}
	return nil
}

// lacking are the custodians that have not been compared.
func (h *history) lacking(all []*custodian.Client) []*custodian.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*custodian.Client
	for _, c := range all {
		if !h.compared[c.Index()] {
			out = append(out, c)
		}
	}
	return out
}

// run compares those that have not been, until all have, and those that give
// reason to, until the context ends.
func (h *history) run(ctx context.Context, all []*custodian.Client) {
	again := time.NewTicker(compareEvery)
	defer again.Stop()
	for {
		var some []*custodian.Client
		select {
		case <-ctx.Done():
			return
		case one := <-h.suspected:
			some = []*custodian.Client{one}
		case <-again.C:
			if some = h.lacking(all); len(some) == 0 {
				again.Stop()
			}
		}
		var asked sync.WaitGroup
		for _, c := range some {
			asked.Go(func() { _ = h.compare(ctx, c) }) // it remembers what it found
		}
		asked.Wait()
	}
}

// A watched custodian has its log looked at when a round gives reason to: it did
// not answer, which a fork is reason for, or holds more than the log does.
type watched struct {
	*custodian.Client
	history *history
}

// Round makes the call.
func (w *watched) Round(ctx context.Context, r *records.Round) (*records.Answer, error) {
	answer, err := w.Client.Round(ctx, r)
	if err != nil && ctx.Err() == nil || err == nil && answer.Size > w.history.log.Size() {
		select {
		case w.history.suspected <- w.Client:
		default: // there is enough to look at
		}
	}
	return answer, err
}

// heldLog is the log as requests reach it: closed while its history is in doubt.
type heldLog struct {
	*chain.Log
	history *history
}

// Append appends, or returns [chain.ErrUnavailable].
func (l heldLog) Append(ctx context.Context, entries ...chain.Entry) ([]chain.Receipt, error) {
	if l.history.hold() != "" {
		return nil, fmt.Errorf("%w: %w", chain.ErrUnavailable, errHeld)
	}
	return l.Log.Append(ctx, entries...)
}
