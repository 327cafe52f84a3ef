package store_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/store"
)

// childPath, when set, turns the test program into a store on that file that serves
// until it is killed.
const childPath = "WARDKEY_TEST_STORE"

func TestMain(m *testing.M) {
	path := os.Getenv(childPath)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := serve(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(path string) error {
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, s.Handler())
}

// A store is killed in the midst of writes, three times. What it answered is there,
// whole, found by search and in the right version, and the file is sound.
func TestNothingAnsweredIsLostByAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.db")
	var mu sync.Mutex // guards answered
	answered := map[string]int64{}
	const clients = 8
	for round := range 3 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childPath+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		base := "http://" + strings.TrimSpace(address)
		var writes atomic.Int64
		var group sync.WaitGroup
		for client := range clients {
			group.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("b%d-%d", client, i%20)
					body := fmt.Sprintf(`{"resourceType":"Basic","id":%q,"code":{"coding":[{"code":"r%d"}]},"language":%q}`, id, round, strings.Repeat("x", 50*i%3000))
					req, err := http.NewRequest("PUT", base+"/fhir/Basic/"+id, strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header.Set("Content-Type", "application/fhir+json")
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						return // killed
					}
					_ = resp.Body.Close()
					if resp.StatusCode > 299 {
						t.Errorf("PUT: %d", resp.StatusCode)
						return
					}
					var number int64
					if _, err := fmt.Sscanf(resp.Header.Get("ETag"), `W/"%d"`, &number); err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					answered[id] = number
					mu.Unlock()
					if writes.Add(1) == 400 {
						if err := child.Process.Kill(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		group.Wait()
		_ = child.Wait()
	}

	s := start(t, store.Config{Path: path})
	found := lo.KeyBy(s.all("/fhir/Basic"), func(e fhir.BundleEntry) string { return e.Resource.ID() })
	for id, number := range answered {
		var kept int64
		entry, ok := found[id]
		if ok {
			_, _ = fmt.Sscan(entry.Resource.Meta().VersionID, &kept)
		}
		// One write more may have been made than was answered, in each round.
		if kept < number || kept > number+3 {
			t.Errorf("Basic/%s is at version %d, and %d was answered", id, kept, number)
		}
		if n := len(s.all("/fhir/Basic/" + id + "/_history")); int64(n) != kept {
			t.Errorf("Basic/%s has %d versions in its history, and is at %d", id, n, kept)
		}
	}
	if len(answered) != clients*20 {
		t.Errorf("%d resources were written", len(answered))
	}
	if n := len(s.all("/fhir/Basic?code=r2&_count=500")); n != len(answered) {
		t.Errorf("%d have the code of the last round, want %d", n, len(answered))
	}
}

func TestReopenedStoreIsAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.db")
	t.Run("before", func(t *testing.T) {
		s := start(t, store.Config{Path: path})
		s.observations(30)
		s.want(s.do("DELETE", "/fhir/Observation/o003", nil, ""), http.StatusNoContent, "")
	})
	for _, beside := range []string{path + "-wal", path + "-shm"} {
		if _, err := os.Stat(beside); err == nil {
			t.Errorf("%s is left after Close", filepath.Base(beside))
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s := start(t, store.Config{Path: path})
	s.want(s.do("GET", "/fhir/Observation/o003", nil, ""), http.StatusGone, "deleted")
	if n := len(s.all("/fhir/Observation?code=c1")); n != 15 {
		t.Errorf("%d found, want 15", n)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := start(t, store.Config{})
	s.put(parse(t, `{"resourceType":"Basic","id":"b"}`), nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		r := s.do(method, "/fhir/Basic/b", nil, lo.Ternary(method == "PUT", `{"resourceType":"Basic","id":"b"}`, ""))
		s.want(r, http.StatusServiceUnavailable, "transient")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestAForeignFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(t.Context(), store.Config{Path: path}); err == nil {
		_ = s.Close()
		t.Error("a text file was opened as a store")
	}
	if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), "this is no database") {
		t.Errorf("and it was changed: %v", err)
	}
}

// Of many clients that read a version and replace it, each time exactly one succeeds.
func TestIfMatchLetsOneWriterThrough(t *testing.T) {
	s := start(t, store.Config{})
	body := `{"resourceType":"Basic","id":"b"}`
	s.do("PUT", "/fhir/Basic/b", nil, body)
	const writers, rounds = 8, 20
	var through atomic.Int64
	for round := range rounds {
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				r, err := s.try(context.Background(), "PUT", "/fhir/Basic/b", header{"If-Match": fmt.Sprintf(`W/"%d"`, round+1)}, body)
				switch {
				case err != nil:
					t.Error(err)
				case r.status == http.StatusOK:
					through.Add(1)
				case r.status != http.StatusPreconditionFailed:
					t.Errorf("status %d", r.status)
				}
			})
		}
		group.Wait()
	}
	if through.Load() != rounds {
		t.Errorf("%d writes went through, want %d", through.Load(), rounds)
	}
	if n := len(s.all("/fhir/Basic/b/_history?_count=100")); n != rounds+1 {
		t.Errorf("%d versions, want %d", n, rounds+1)
	}
}
