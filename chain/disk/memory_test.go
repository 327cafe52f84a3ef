package disk_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/wardkey/wardkey/chain/disk"
)

// memory is a file system whose disk fails when it is told to, and whose power
// can be cut: what was not synced is then gone, or half there.
type memory struct {
	mu      sync.Mutex
	names   map[string]*node // as processes see them
	durable map[string]*node // as they are after a loss of power
	dirs    map[string]bool
	locked  bool

	operations int
	failAt     int  // the operation that fails; 0 = none
	dead       bool // and all after it
	full       bool // writes fail for want of space
	trace      []string
}

type node struct {
	data, synced []byte
}

var (
	errInjected = errors.New("injected fault")
	errNoSpace  = errors.New("no space left on device")
)

func newMemory() *memory {
	return &memory{names: make(map[string]*node), durable: make(map[string]*node), dirs: map[string]bool{".": true}}
}

// operate counts an operation and reports whether it fails. The caller holds mu.
func (m *memory) operate(what string) error {
	m.operations++
	m.trace = append(m.trace, what)
	if m.operations == m.failAt || m.dead && m.failAt > 0 && m.operations > m.failAt {
		return errInjected
	}
	return nil
}

// restart is the same disk after the process was killed.
func (m *memory) restart() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemory()
	out.dirs = maps.Clone(m.dirs)
	for name, n := range m.names {
		out.names[name] = &node{data: bytes.Clone(n.data), synced: bytes.Clone(n.data)}
	}
	out.durable = maps.Clone(out.names)
	return out
}

// powerCut is the disk after a loss of power. Names that were not synced are
// kept or lost; of what was written behind the synced end, so much of every
// eighth is kept, and the rest is zeros, or not there.
func (m *memory) powerCut(keepNames bool, eighths int, zeros bool) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemory()
	out.dirs = maps.Clone(m.dirs)
	names := m.durable
	if keepNames {
		names = m.names
	}
	for name, n := range names {
		data := bytes.Clone(n.synced)
		if more := len(n.data) - len(n.synced); more > 0 {
			kept := more * eighths / 8
			data = append(data, n.data[len(n.synced):len(n.synced)+kept]...)
			if zeros {
				data = append(data, make([]byte, more-kept)...)
			}
		}
		out.names[name] = &node{data: data, synced: bytes.Clone(data)}
	}
	out.durable = maps.Clone(out.names)
	return out
}

func (m *memory) Open(name string, how disk.OpenMode) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("open " + name); err != nil {
		return nil, err
	}
	n, ok := m.names[name]
	if !ok {
		if how == disk.ForReading {
			return nil, disk.ErrNoFile
		}
		if !m.dirs[path.Dir(name)] {
			return nil, disk.ErrNoFile
		}
		n = new(node)
		m.names[name] = n
	}
	if how == disk.ForReplacing {
		n.data = nil
	}
	return &handle{m: m, n: n, name: name}, nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("rename " + to); err != nil {
		return err
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("remove " + name); err != nil {
		return err
	}
	delete(m.names, name)
	return nil
}

func (m *memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("list " + dir); err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	for name := range m.names {
		rest := name
		if dir != "." {
			var ok bool
			if rest, ok = strings.CutPrefix(name, dir+"/"); !ok {
				continue
			}
		}
		first, _, deeper := strings.Cut(rest, "/")
		if deeper {
			first += "/"
		}
		found[first] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (m *memory) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("mkdir " + dir); err != nil {
		return err
	}
	for ; dir != "."; dir = path.Dir(dir) {
		m.dirs[dir] = true
	}
	return nil
}

func (m *memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("sync " + dir); err != nil {
		return err
	}
	for name := range m.durable {
		if path.Dir(name) == dir {
			delete(m.durable, name)
		}
	}
	for name, n := range m.names {
		if path.Dir(name) == dir {
			m.durable[name] = n
		}
	}
	return nil
}

func (m *memory) Lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.operate("lock"); err != nil {
		return nil, err
	}
	if m.locked {
		return nil, disk.ErrLocked
	}
	m.locked = true
	return unlocker{m}, nil
}

type unlocker struct{ m *memory }

func (u unlocker) Close() error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.m.locked = false
	return nil
}

type handle struct {
	m    *memory
	n    *node
	name string
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes half when it fails.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	err := h.m.operate("write " + h.name)
	if h.m.full && err == nil {
		err = errNoSpace
	}
	n := len(p)
	if err != nil {
		n /= 2
	}
	if grow := off + int64(n) - int64(len(h.n.data)); grow > 0 {
		h.n.data = append(h.n.data, make([]byte, grow)...)
	}
	copy(h.n.data[off:], p[:n])
	return n, err
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.n.data)), h.m.operate("size " + h.name)
}

func (h *handle) Truncate(size int64) error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.operate("truncate " + h.name); err != nil {
		return err
	}
	h.n.data = h.n.data[:size:size]
	return nil
}

func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.operate("sync " + h.name); err != nil {
		return err
	}
	h.n.synced = bytes.Clone(h.n.data)
	return nil
}

func (h *handle) Close() error { return nil }
