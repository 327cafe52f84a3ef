package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A progress bar tells how far a long piece of work has come: redrawn in place
// on a terminal, a line every tenth elsewhere. It may be used concurrently.
type progress struct {
	w     io.Writer
	what  string
	total int
	live  bool // a terminal that can be drawn on again

	mu    sync.Mutex // guards what follows
	done  int
	shown int // tenths, or hundredths on a terminal, last shown
	begun time.Time
}

func newProgress(w io.Writer, what string, total int) *progress {
	f, isFile := w.(*os.File)
	live := false
	if isFile {
		info, err := f.Stat()
		live = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &progress{w: w, what: what, total: total, live: live, begun: time.Now()}
}

// add reports n more pieces done.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	parts := 10
	if p.live {
		parts = 100
	}
	if at := p.done * parts / max(p.total, 1); at != p.shown {
		p.shown = at
		p.show()
	}
}

func (p *progress) show() {
	const width = 30
	full := min(p.done*width/max(p.total, 1), width)
	line := fmt.Sprintf("%s [%s%s] %d/%d, %.1fs", p.what, strings.Repeat("█", full), strings.Repeat("·", width-full),
		p.done, p.total, time.Since(p.begun).Seconds())
	switch {
	case !p.live:
		say(p.w, "%s\n", line)
	case p.done >= p.total:
		say(p.w, "\r%s\n", line)
	default:
		say(p.w, "\r%s", line)
	}
}
