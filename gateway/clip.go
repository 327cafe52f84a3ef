package gateway

import (
	"log/slog"
	"strings"
)

// clipAt is how much of a text that may quote a request goes into a log line or
// an answer, in bytes.
const clipAt = 400

// clip cuts a text to a line of bounded length. What somebody sends must neither
// fill a log nor write lines of its own into one.
func clip(s string) string {
	cut := s
	if len(cut) > clipAt {
		cut = cut[:clipAt]
	}
	cut = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(cut, ""))
	if len(s) > clipAt {
		cut += "…"
	}
	return cut
}

// failure is an error for the log.
func failure(err error) slog.Attr { return slog.String("error", clip(err.Error())) }
