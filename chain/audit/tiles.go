package audit

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/disk"
)

// tileWidth is the number of rows of a full tile (tlog-tiles).
const tileWidth = 256

// tileChecker computes the full tiles again and compares the files.
type tileChecker struct {
	auditor *auditor
	bundle  []byte
	levels  [][][]byte // rows of the tile that is not yet full, by level
	counts  []uint64   // full tiles, by level; those of bundles are those of level 0
	equal   int
	missing []missing
	from    uint64 // index of the first entry of the last batch
}

// missing is a tile without a file.
type missing struct {
	name string
	end  uint64 // number of entries that completed it
}

func (c *tileChecker) init(a *auditor) { c.auditor = a }

// settled notes where a batch began that is now in the tree.
func (c *tileChecker) settled(first uint64) { c.from = first }

func (c *tileChecker) push(leaf chain.Leaf, hash [32]byte) error {
	c.bundle = append(append(c.bundle, 0, chain.LeafBytes), leaf[:]...)
	row := hash[:]
	for level := 0; ; level++ {
		if level == len(c.levels) {
			c.levels, c.counts = append(c.levels, nil), append(c.counts, 0)
		}
		c.levels[level] = append(c.levels[level], row)
		if len(c.levels[level]) < tileWidth {
			return nil
		}
		if level == 0 {
			if err := c.compare(chain.BundleLevel, c.counts[0], c.bundle); err != nil {
				return err
			}
			c.bundle = nil
		}
		if err := c.compare(level, c.counts[level], bytes.Join(c.levels[level], nil)); err != nil {
			return err
		}
		rows := c.levels[level]
		for len(rows) > 1 {
			for i := range len(rows) / 2 {
				rows[i] = rfc6962.DefaultHasher.HashChildren(rows[2*i], rows[2*i+1])
			}
			rows = rows[:len(rows)/2]
		}
		row, c.levels[level] = rows[0], nil
		c.counts[level]++
	}
}

func (c *tileChecker) compare(level int, index uint64, want []byte) error {
	name := disk.TilePath(level, index)
	got, err := c.auditor.read(name)
	if err != nil {
		return err
	}
	end := c.auditor.tree.End()
	switch {
	case got == nil:
		c.missing = append(c.missing, missing{name: name, end: end})
	case !bytes.Equal(got, want):
		c.auditor.report.find(CodeTile, end-1, "%s is not the recomputed tile", name)
	default:
		c.equal++
	}
	return nil
}

// conclude judges the tiles that are missing. The last batch's may be: a writer
// that was killed had stored its entries and not yet its tiles.
func (c *tileChecker) conclude() error {
	late := 0
	for _, m := range c.missing {
		if c.auditor.live || m.end > c.from {
			late++
			continue
		}
		c.auditor.report.find(CodeTile, m.end-1, "%s is missing", m.name)
	}
	if late > 0 {
		c.auditor.report.note("%d tiles of the newest entries are not there yet: they are derived, and made when the log is next opened", late)
	}
	if len(c.auditor.report.Findings) == 0 {
		c.auditor.report.prove("%d tiles are the recomputed ones", c.equal)
	}
	return nil
}

// foreign walks the tiles' directory and looks for what is no tile of this log.
func (c *tileChecker) foreign(dir string) error {
	names, err := c.auditor.files.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		full := path.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := c.foreign(full); err != nil {
				return err
			}
			continue
		}
		level, index, ok := parseTilePath(full)
		if !ok {
			c.auditor.report.find(CodeForeign, 0, "%s is no tile", full)
			continue
		}
		at := max(level, 0)
		if full := at < len(c.counts) && index < c.counts[at]; !full && !c.auditor.live {
			c.auditor.report.find(CodeForeign, 0, "%s is a tile of entries that are not there", disk.TilePath(level, index))
		}
	}
	return nil
}

// parseTilePath is the inverse of [disk.TilePath].
func parseTilePath(name string) (level int, index uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, "tile/")
	if !ok {
		return 0, 0, false
	}
	first, rest, _ := strings.Cut(rest, "/")
	if first == "entries" {
		level = chain.BundleLevel
	} else if _, err := fmt.Sscanf(first, "%d", &level); err != nil || level < 0 || level > 7 {
		return 0, 0, false
	}
	for _, group := range strings.Split(rest, "/") {
		var n uint64
		if _, err := fmt.Sscanf(strings.TrimPrefix(group, "x"), "%03d", &n); err != nil || n > 999 || index > 1<<40 {
			return 0, 0, false
		}
		index = index*1000 + n
	}
	return level, index, disk.TilePath(level, index) == name
}
