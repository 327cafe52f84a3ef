package gateway

import (
	"sync"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/index"
)

// attributesKept bounds each generation of remembered attributes; a record's
// take about a kilobyte.
const attributesKept = 8192

// attributes remembers what sealed attributes say. A search looks at many more
// records than it opens, mostly the same ones as the search before. What is
// remembered was authenticated when it was opened, under the digest and the
// revision that it is remembered by.
type attributes struct {
	key *records.AttributeKey

	mu    sync.Mutex // guards young and old
	young map[revised]policy.Resource
	old   map[revised]policy.Resource // forgotten when young is full
}

// revised is a revision of some content.
type revised struct {
	digest   [32]byte
	revision uint64
}

func newAttributes(key *records.AttributeKey) *attributes {
	return &attributes{key: key, young: map[revised]policy.Resource{}}
}

// of opens a row's attributes. Their lists are shared and not to be modified.
func (a *attributes) of(row index.Row) (policy.Resource, error) {
	at := revised{row.Digest, row.Revision}
	a.mu.Lock()
	r, known := a.young[at]
	if !known {
		if r, known = a.old[at]; known {
			a.keep(at, r)
		}
	}
	a.mu.Unlock()
	if known {
		return r, nil
	}
	r, err := a.key.Open(row.Attributes, row.Type, row.ID, row.Revision)
	if err != nil {
		return policy.Resource{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep(at, r)
	return r, nil
}

// keep remembers; a.mu is held.
func (a *attributes) keep(at revised, r policy.Resource) {
	if len(a.young) >= attributesKept {
		a.old, a.young = a.young, make(map[revised]policy.Resource, attributesKept)
	}
	a.young[at] = r
}
