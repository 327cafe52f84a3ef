package node_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/gateway/node"
	"github.com/wardkey/wardkey/gateway/node/demo"
)

// outdated makes a hospital that goes on after a backup of all its logs was
// taken, and returns its directory and that of the backup. Everything is stopped.
func outdated(t *testing.T) (dir, backup string) {
	t.Helper()
	dir, backup = directory(t), t.TempDir()
	for _, log := range logs() {
		if err := os.CopyFS(filepath.Join(backup, log), os.DirFS(filepath.Join(dir, log))); err != nil {
			t.Fatal(err)
		}
	}
	h, err := demo.Start(t.Context(), demo.Options{Dir: dir, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Document(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, backup
}

// logs are the folders of the gateway's log and the custodians' copies.
func logs() []string {
	return []string{"log", "custodian-1/log", "custodian-2/log", "custodian-3/log", "custodian-4/log"}
}

// restore puts logs back from the backup.
func restore(t *testing.T, dir, backup string, some ...string) {
	t.Helper()
	for _, log := range some {
		err := os.RemoveAll(filepath.Join(dir, log))
		if err := errors.Join(err, os.CopyFS(filepath.Join(dir, log), os.DirFS(filepath.Join(backup, log)))); err != nil {
			t.Fatal(err)
		}
	}
}

// tending starts a custodian for the length of a test.
func tending(t *testing.T, dir string, place int) {
	t.Helper()
	c, err := node.LoadCustodian(filepath.Join(dir, "custodian-"+strconv.Itoa(place)+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.StartCustodian(t.Context(), c, node.CustodianOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's own context is done by now.
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// begin starts the gateway of a directory for the length of a test.
func begin(t *testing.T, dir string) (*node.Gateway, *node.GatewayConfig) {
	t.Helper()
	c, err := node.LoadGateway(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return serving(t, c), c
}

// fetched asks, and returns status, Retry-After and body.
func fetched(t *testing.T, url string) (status int, retry, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(data)
}

// becomes waits until readiness says something.
func becomes(t *testing.T, c *node.GatewayConfig, status int, says string) {
	t.Helper()
	var got int
	var body string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got, _, body = fetched(t, "http://"+c.Admin+"/readyz"); got == status && strings.Contains(body, says) {
			return
		}
	}
	t.Fatalf("readiness is %d %q, want %d with %q", got, body, status, says)
}

// closed wants requests refused, and nothing written.
func closed(t *testing.T, g *node.Gateway, c *node.GatewayConfig, size uint64) {
	t.Helper()
	for _, path := range []string{"/fhir/metadata", "/fhir/Patient/p1", "/chain/checkpoint"} {
		if status, retry, body := fetched(t, c.Base+path); status != http.StatusServiceUnavailable || retry == "" {
			t.Errorf("%s: %d, Retry-After %q: %s", path, status, retry, body)
		}
	}
	if got := g.Log.Size(); got != size {
		t.Errorf("the log has grown from %d to %d entries", size, got)
	}
}

func TestAGatewayOnAnOldBackupOfItsLogDoesNotStart(t *testing.T) {
	t.Parallel()
	dir, backup := outdated(t)
	restore(t, dir, backup, "log")
	_, err := demo.Start(t.Context(), demo.Options{Dir: dir, Addr: "127.0.0.1:0"})
	if rollback, ok := errors.AsType[*chain.RollbackError](err); !ok || rollback.Have >= rollback.Seen {
		t.Errorf("started on an old log: %v", err)
	}
}

// TestAGatewayOnAnOldBackupWritesNothingWhileItsCustodiansAreAway: with nobody to
// compare with it cannot know that it is on one.
func TestAGatewayOnAnOldBackupWritesNothingWhileItsCustodiansAreAway(t *testing.T) {
	t.Parallel()
	dir, backup := outdated(t)
	restore(t, dir, backup, "log")
	g, c := begin(t, dir)
	size := g.Log.Size()
	becomes(t, c, http.StatusServiceUnavailable, "0 custodians of the 3")
	closed(t, g, c, size)
	tending(t, dir, 2)
	becomes(t, c, http.StatusServiceUnavailable, "another history")
	closed(t, g, c, size)
	// Those who are behind as well change nothing any more.
	restore(t, dir, backup, "custodian-1/log", "custodian-3/log", "custodian-4/log")
	for _, place := range []int{1, 3, 4} {
		tending(t, dir, place)
	}
	becomes(t, c, http.StatusServiceUnavailable, "another history")
	closed(t, g, c, size)
}

func TestAGatewayServesOnceEnoughCustodiansWereCompared(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	g, c := begin(t, dir)
	size := g.Log.Size()
	closed(t, g, c, size)
	tending(t, dir, 4)
	becomes(t, c, http.StatusServiceUnavailable, "1 custodians of the 3")
	tending(t, dir, 1)
	becomes(t, c, http.StatusServiceUnavailable, "2 custodians of the 3")
	closed(t, g, c, size)
	tending(t, dir, 2)
	becomes(t, c, http.StatusOK, "ready")
	if status, _, body := fetched(t, c.Base+"/fhir/metadata"); status != http.StatusOK {
		t.Errorf("metadata: %d %s", status, body)
	}
}

// TestAGatewayStopsWhenACustodianShowsAnotherHistory: three custodians were
// restored from the same old backup as the log, and the fourth was away.
func TestAGatewayStopsWhenACustodianShowsAnotherHistory(t *testing.T) {
	t.Parallel()
	dir, backup := outdated(t)
	restore(t, dir, backup, "log", "custodian-1/log", "custodian-2/log", "custodian-3/log")
	for _, place := range []int{1, 2, 3} {
		tending(t, dir, place)
	}
	g, c := begin(t, dir)
	becomes(t, c, http.StatusOK, "ready")
	tending(t, dir, 4)
	becomes(t, c, http.StatusServiceUnavailable, "another history")
	closed(t, g, c, g.Log.Size())
}
