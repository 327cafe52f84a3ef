// Package remote serves a log to mirrors and auditors over HTTP, as tlog-tiles
// v0.1.0 has it: the published checkpoint, hash tiles, and entry bundles, whose
// entries are the leaves and nothing else.
//
// Everything it serves is public: it tells how many entries there are, and
// nothing of them. Bodies and log keys go to custodians, by another way.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/wardkey/wardkey/chain"
)

// Log is what is served; [chain.Log] and [chain.Reader] are such.
type Log interface {
	Published() []byte
	Tile(ctx context.Context, level int, index uint64, width int) ([]byte, error)
}

// prefix is where the log is found: a mirror is given the URL that ends in it.
const prefix = "/chain/"

// NewHandler serves GET and HEAD of
//
//	/chain/checkpoint
//	/chain/tile/LEVEL/INDEX[.p/WIDTH]
//	/chain/tile/entries/INDEX[.p/WIDTH]
//
// Tiles and bundles never change and say so; a narrower one is a wider one cut.
// It is for any number of goroutines.
func NewHandler(l Log) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"checkpoint", func(w http.ResponseWriter, _ *http.Request) {
		checkpoint := l.Published()
		if checkpoint == nil {
			http.Error(w, "no checkpoint yet", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(checkpoint) // the reader has left
	})
	mux.HandleFunc("GET "+prefix+"tile/{path...}", func(w http.ResponseWriter, r *http.Request) {
		level, index, width, err := ParseTile(r.PathValue("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		data, err := l.Tile(r.Context(), level, index, width)
		switch {
		case errors.Is(err, chain.ErrBeyond):
			http.Error(w, "no such tile yet", http.StatusNotFound)
			return
		case err != nil:
			http.Error(w, "tile cannot be read", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data) // the reader has left
	})
	return mux
}

// fullWidth is the number of rows of a tile (tlog-tiles).
const fullWidth = 256

// ParseTile reads the path of a tile, without "tile/" at its beginning: level,
// or "entries", which is [chain.BundleLevel]; the index in groups of three
// digits, all but the last behind an x; and the width, if it is a partial tile.
// There is one path for a tile.
func ParseTile(path string) (level int, index uint64, width int, err error) {
	bad := fmt.Errorf("not the path of a tile")
	first, rest, ok := strings.Cut(path, "/")
	if !ok {
		return 0, 0, 0, bad
	}
	if first == "entries" {
		level = chain.BundleLevel
	} else if level, ok = number(first, 63); !ok {
		return 0, 0, 0, bad
	}
	width = fullWidth
	if before, partial, ok := strings.Cut(rest, ".p/"); ok {
		if width, ok = number(partial, fullWidth-1); !ok || width == 0 {
			return 0, 0, 0, bad
		}
		rest = before
	}
	groups := strings.Split(rest, "/")
	for i, group := range groups {
		if i < len(groups)-1 {
			if group, ok = strings.CutPrefix(group, "x"); !ok || i == 0 && group == "000" {
				return 0, 0, 0, bad
			}
		}
		n, err := strconv.ParseUint(group, 10, 16)
		if err != nil || len(group) != 3 || index > 1<<50 {
			return 0, 0, 0, bad
		}
		index = index*1000 + n
	}
	return level, index, width, nil
}

// number reads a decimal number without superfluous zeros.
func number(s string, most int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= most && strconv.Itoa(n) == s
}
