package node

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

func (c LoggingConfig) level() (slog.Level, error) {
	var l slog.Level
	if c.Level == "" {
		return l, nil
	}
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return 0, fmt.Errorf("logging level %q: %w", c.Level, err)
	}
	return l, nil
}

// open returns the logger: JSON lines to standard error, or appended to a file
// that nobody else may read, for ids are in it.
func (c LoggingConfig) open(folder string) (*slog.Logger, io.Closer, error) {
	level, err := c.level()
	if err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if c.File == "" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), io.NopCloser(nil), nil
	}
	f, err := os.OpenFile(under(folder, c.File), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log file: %w", err)
	}
	return slog.New(slog.NewJSONHandler(f, options)), f, nil
}
