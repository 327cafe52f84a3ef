// Package keystoretest holds every implementation of [keystore.Keystore] to what
// that interface promises.
package keystoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/wardkey/wardkey/records/keystore"
)

// Contract runs the promises as subtests. Every call of open gives a new handle
// on the same place, which is empty at first, as another process would have it.
func Contract(t *testing.T, open func(t *testing.T) keystore.Keystore) {
	t.Run("what is saved is found by another", func(t *testing.T) {
		store := open(t)
		secret := []byte("\x00share\xff\n")
		save(t, store, "custodian-1.share", secret)
		for who, from := range map[string]keystore.Keystore{"itself": store, "another": open(t)} {
			if got := load(t, from, "custodian-1.share"); !bytes.Equal(got, secret) {
				t.Errorf("%s loaded %q, want %q", who, got, secret)
			}
		}
	})
	t.Run("what is not there is not found", func(t *testing.T) {
		if _, err := open(t).Load(context.Background(), "absent"); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("Load() error = %v, want ErrNotFound", err)
		}
	})
	t.Run("a secret that was seen may be replaced", func(t *testing.T) {
		store := open(t)
		save(t, store, "seen", []byte("one"))
		save(t, store, "seen", []byte("two"))
		another := open(t)
		load(t, another, "seen")
		save(t, another, "seen", []byte("three"))
		if got := load(t, store, "seen"); string(got) != "three" {
			t.Errorf("loaded %q, want three", got)
		}
	})
	t.Run("a secret that was not seen is not overwritten", func(t *testing.T) {
		first, second := open(t), open(t)
		save(t, first, "unseen", []byte("one"))
		refuse(t, second, "unseen", []byte("two"), keystore.ErrConflict)
		load(t, second, "unseen")
		save(t, first, "unseen", []byte("three"))
		refuse(t, second, "unseen", []byte("two"), keystore.ErrConflict)
		if got := load(t, open(t), "unseen"); string(got) != "three" {
			t.Errorf("loaded %q, want three", got)
		}
	})
	t.Run("saving the same again succeeds", func(t *testing.T) {
		save(t, open(t), "again", []byte("one"))
		save(t, open(t), "again", []byte("one"))
	})
	t.Run("of many who make a secret one wins", func(t *testing.T) {
		const writers = 8
		stores := make([]keystore.Keystore, writers)
		for i := range stores {
			stores[i] = open(t)
		}
		results := make([]error, writers)
		var all sync.WaitGroup
		for i, store := range stores {
			all.Go(func() {
				results[i] = store.Save(context.Background(), "contested", fmt.Appendf(nil, "writer %d", i))
			})
		}
		all.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Errorf("writers %d and %d both won", winner, i)
			case !errors.Is(err, keystore.ErrConflict):
				t.Errorf("writer %d: %v, want ErrConflict", i, err)
			}
		}
		if got, want := string(load(t, open(t), "contested")), fmt.Sprintf("writer %d", winner); got != want {
			t.Errorf("loaded %q, want %q", got, want)
		}
	})
	t.Run("odd names and sizes are refused", func(t *testing.T) {
		store := open(t)
		for _, name := range []string{"", ".", "..", "../up", "a/b", "-a", "a-", ".hidden", "A", "a b", "a\x00", "ä", strings.Repeat("a", 65)} {
			refuse(t, store, name, []byte("secret"), keystore.ErrName)
			if _, err := store.Load(context.Background(), name); !errors.Is(err, keystore.ErrName) {
				t.Errorf("Load(%q) error = %v, want ErrName", name, err)
			}
		}
		refuse(t, store, "size", nil, keystore.ErrSize)
		refuse(t, store, "size", make([]byte, keystore.MaxSize+1), keystore.ErrSize)
		save(t, store, strings.Repeat("a", 64), make([]byte, keystore.MaxSize))
	})
	t.Run("errors do not tell the secret", func(t *testing.T) {
		save(t, open(t), "quiet", []byte("hunter2-old"))
		err := open(t).Save(context.Background(), "quiet", []byte("hunter2-new"))
		if err == nil || strings.Contains(fmt.Sprintf("%+v", err), "hunter2") {
			t.Errorf("error %+v", err)
		}
	})
}

func save(t *testing.T, store keystore.Keystore, name string, secret []byte) {
	t.Helper()
	if err := store.Save(context.Background(), name, secret); err != nil {
		t.Fatalf("Save(%q): %v", name, err)
	}
}

func load(t *testing.T, store keystore.Keystore, name string) []byte {
	t.Helper()
	secret, err := store.Load(context.Background(), name)
	if err != nil {
		t.Fatalf("Load(%q): %v", name, err)
	}
	return secret
}

func refuse(t *testing.T, store keystore.Keystore, name string, secret []byte, want error) {
	t.Helper()
	if err := store.Save(context.Background(), name, secret); !errors.Is(err, want) {
		t.Errorf("Save(%q) error = %v, want %v", name, err, want)
	}
}
