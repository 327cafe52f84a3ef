package chain

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// draft is what the book would say after some more entries. Dropping it undoes
// them.
type draft struct {
	book      *book
	added     []LogKey // keys not in the book yet; their places follow the book's
	addedAt   map[KeyID]int
	fresh     map[string]int // patient → place among the added
	sequences map[int]sequence
	current   map[string]int
	hashes    []tlog.Hash // of the leaves pushed
	front     frontier
	last      int64
}

func (b *book) draft() *draft {
	return &draft{
		book: b, front: b.front.clone(), last: b.last,
		addedAt: make(map[KeyID]int), fresh: make(map[string]int),
		sequences: make(map[int]sequence), current: make(map[string]int),
	}
}

func (d *draft) addKey(k LogKey) int {
	place := len(d.book.keys) + len(d.added)
	d.added = append(d.added, k)
	d.addedAt[k.ID] = place
	d.fresh[k.Patient] = place
	return place
}

func (d *draft) key(place int) LogKey {
	if n := len(d.book.keys); place >= n {
		return d.added[place-n]
	}
	return d.book.keys[place].LogKey
}

func (d *draft) place(id KeyID) (int, bool) {
	if place, ok := d.addedAt[id]; ok {
		return place, true
	}
	place, ok := d.book.places[id]
	return place, ok
}

func (d *draft) sequence(place int) sequence {
	if s, ok := d.sequences[place]; ok {
		return s
	}
	if place < len(d.book.keys) {
		return d.book.keys[place].sequence
	}
	return sequence{}
}

// open returns the key that a patient's next entry must go under, if the
// patient has one that is in use.
func (d *draft) open(patient string) (int, bool) {
	place, ok := d.current[patient]
	if !ok {
		place, ok = d.book.current[patient]
	}
	return place, ok && !d.sequence(place).closed
}

// assign returns the place of the key for a patient's next entry. It draws a
// key where there is none: at a patient's first entry, and at the first after
// the patient was erased.
func (d *draft) assign(patient string) int {
	if place, ok := d.open(patient); ok {
		return place
	}
	if place, ok := d.fresh[patient]; ok && d.sequence(place).seq == 0 {
		return place
	}
	if place, ok := d.book.fresh[patient]; ok && d.sequence(place).seq == 0 {
		return place
	}
	return d.addKey(NewLogKey(patient))
}

// before returns where a patient's entries stand when the next one goes under
// the key at place. Numbers go on from key to key: otherwise an [Erase] entry
// would make what it follows look as if it had never been.
func (d *draft) before(place int, patient string) sequence {
	if s := d.sequence(place); s.seq > 0 {
		return s
	}
	current, ok := d.current[patient]
	if !ok {
		current, ok = d.book.current[patient]
	}
	if !ok {
		return sequence{}
	}
	return d.sequence(current)
}

// follow fills in what the log says of the next entry under a key and moves the
// patient's sequence on.
func (d *draft) follow(place int, index uint64, body *Body, now int64) {
	key, before := d.key(place), d.before(place, body.Patient)
	d.last = max(d.last, now, 1)
	body.Time, body.Seq, body.Prev = d.last, before.seq+1, before.last
	if d.sequence(place).seq == 0 {
		commitment := key.Commitment()
		body.Key = commitment[:]
	}
	d.move(place, index, body)
}

func (d *draft) move(place int, index uint64, body *Body) {
	d.sequences[place] = sequence{seq: body.Seq, last: index, closed: body.Kind == Erase}
	d.current[body.Patient] = place
}

// pass notes an entry that cannot be read because its key is erased.
func (d *draft) pass(index uint64, id KeyID) {
	place, _ := d.place(id) // it was found when the record was to be opened
	if s := d.sequence(place); s.seq > 0 {
		delete(d.book.ends, s.last)
	}
	d.book.ends[index] = true
	d.sequences[place] = sequence{seq: 1, last: index, closed: true} // how many it were is not known
}

func (d *draft) push(leaf Leaf) {
	hash := leaf.Hash()
	d.hashes = append(d.hashes, hash)
	d.front.push(hash)
}

// check holds a body against the rules: its key is its patient's, its sequence
// has no gap, its time does not go back.
func (d *draft) check(index uint64, id KeyID, body *Body) error {
	place, ok := d.place(id)
	if !ok {
		return &RecordError{Index: index, Reason: "log key unknown"}
	}
	key, s, before := d.key(place), d.sequence(place), d.before(place, body.Patient)
	if before.seq == 0 && body.Seq > 1 && d.book.ends[body.Prev] {
		// The patient's entries before are under an erased key, which says neither
		// whose it was nor how many they were.
		before = sequence{seq: body.Seq - 1, last: body.Prev}
		delete(d.book.ends, body.Prev)
	}
	switch {
	case body.Patient != key.Patient:
		return &RecordError{Index: index, Reason: "log key is another patient's"}
	case s.closed:
		return &RecordError{Index: index, Reason: "log key is used after its erase entry"}
	case body.Seq != before.seq+1:
		return &RecordError{Index: index, Reason: fmt.Sprintf("patient's sequence is %d where %d is next", body.Seq, before.seq+1)}
	case body.Prev != before.last:
		return &RecordError{Index: index, Reason: fmt.Sprintf("patient's previous entry is %d, not %d", before.last, body.Prev)}
	case (s.seq == 0) != (len(body.Key) > 0):
		return &RecordError{Index: index, Reason: "the first entry under a log key commits to it, and no other"}
	case body.Time < d.last:
		return &RecordError{Index: index, Reason: "time goes back"}
	}
	if s.seq == 0 {
		if open, ok := d.open(body.Patient); ok && open != place {
			return &RecordError{Index: index, Reason: "patient has another log key in use"}
		}
		if [sha256.Size]byte(body.Key) != key.Commitment() {
			return &RecordError{Index: index, Reason: "log key is not the one committed to"}
		}
	}
	d.last = body.Time
	d.move(place, index, body)
	return nil
}

// parallelFrom is the number of bodies from which more goroutines pay.
const parallelFrom = 24

// parallel calls f for 0 … n-1, on all processors where there is enough to do,
// and returns the error of the lowest i.
func parallel(n int, f func(i int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n/(parallelFrom/2))
	if n < parallelFrom || workers < 2 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * n / workers; i < (w+1)*n/workers; i++ {
				if errs[w] = f(i); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// unseal opens the bodies of consecutive records. A body whose key is erased is
// nil where that is allowed.
func (d *draft) unseal(first uint64, records []Record, allowErased bool) ([]*Body, error) {
	bodies := make([]*Body, len(records))
	err := parallel(len(records), func(i int) error {
		index := first + uint64(i)
		place, ok := d.place(records[i].Key)
		if !ok {
			return &RecordError{Index: index, Reason: "log key unknown"}
		}
		key := d.key(place)
		if key.Erased() && allowErased {
			return nil
		}
		var err error
		if bodies[i], _, err = key.Unseal(index, records[i]); err != nil {
			return &RecordError{Index: index, Reason: "open body", Err: err}
		}
		return nil
	})
	return bodies, err
}
