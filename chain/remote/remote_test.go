package remote_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
	"github.com/wardkey/wardkey/chain/remote"
)

func get(t *testing.T, server *httptest.Server, path string) (int, http.Header, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, data
}

// client reads tiles as golang.org/x/mod/sumdb/tlog asks for them, by the paths
// of tlog-tiles.
type client struct {
	t      *testing.T
	server *httptest.Server
}

func (client) Height() int                     { return 8 }
func (client) SaveTiles([]tlog.Tile, [][]byte) {}
func (c client) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		path := tilePath(fmt.Sprint(tile.L), uint64(tile.N), tile.W)
		status, _, data := get(c.t, c.server, path)
		if status != http.StatusOK {
			return nil, fmt.Errorf("%s: %d", path, status)
		}
		out = append(out, data)
	}
	return out, nil
}

func tilePath(level string, index uint64, width int) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	path = "/chain/tile/" + level + "/" + path
	if width < 256 {
		path += fmt.Sprintf(".p/%d", width)
	}
	return path
}

func TestAMirrorRebuildsTheTreeFromWhatIsServed(t *testing.T) {
	l, _, s := chaintest.New(t)
	chaintest.Fill(t, l, 900)
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(remote.NewHandler(l))
	defer server.Close()
	status, header, signed := get(t, server, "/chain/checkpoint")
	if status != http.StatusOK || header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %v", status, header)
	}
	c, _, err := chain.OpenCheckpoint(signed, s.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	reader := tlog.TileHashReader(tlog.Tree{N: int64(c.Size), Hash: c.Root}, client{t, server})
	for first := uint64(0); first < c.Size; first += 256 {
		width := int(min(c.Size-first, 256))
		status, header, bundle := get(t, server, tilePath("entries", first/256, width))
		if status != http.StatusOK || len(bundle) != 35*width || header.Get("Content-Type") != "application/octet-stream" {
			t.Fatalf("bundle at %d: %d, %d bytes", first, status, len(bundle))
		}
		for i := range width {
			row := bundle[35*i : 35*i+35]
			if !bytes.Equal(row[:3], []byte{0, 33, 1}) {
				t.Fatalf("row %x", row)
			}
			hash, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(first)+int64(i))})
			if err != nil || hash[0] != tlog.RecordHash(row[2:]) {
				t.Fatalf("entry %d: %v", first+uint64(i), err)
			}
		}
	}
	if root, err := tlog.TreeHash(int64(c.Size), reader); err != nil || root != c.Root {
		t.Errorf("root: %v", err)
	}
}

func TestOnlyWhatIsThereIsServed(t *testing.T) {
	l, _, _ := chaintest.New(t)
	chaintest.Fill(t, l, 299)
	server := httptest.NewServer(remote.NewHandler(l))
	defer server.Close()
	for path, want := range map[string]int{
		"/chain/tile/0/000":            http.StatusOK,
		"/chain/tile/0/000.p/7":        http.StatusOK,
		"/chain/tile/0/001.p/44":       http.StatusOK,
		"/chain/tile/0/001.p/45":       http.StatusNotFound,
		"/chain/tile/0/001":            http.StatusNotFound,
		"/chain/tile/1/000.p/1":        http.StatusOK,
		"/chain/tile/1/000":            http.StatusNotFound,
		"/chain/tile/entries/000":      http.StatusOK,
		"/chain/tile/entries/x001/000": http.StatusNotFound,
		"/chain/tile/0/0":              http.StatusBadRequest,
		"/chain/tile/0/0000":           http.StatusBadRequest,
		"/chain/tile/0/x000/000":       http.StatusBadRequest,
		"/chain/tile/00/000":           http.StatusBadRequest,
		"/chain/tile/64/000":           http.StatusBadRequest,
		"/chain/tile/-1/000":           http.StatusBadRequest,
		"/chain/tile/0/000.p/0":        http.StatusBadRequest,
		"/chain/tile/0/000.p/256":      http.StatusBadRequest,
		"/chain/tile/0/000.p/07":       http.StatusBadRequest,
		"/chain/tile/data/000":         http.StatusBadRequest,
		"/chain/tile/0":                http.StatusBadRequest,
		"/chain/tile/0/+01":            http.StatusBadRequest,
		"/chain/keys":                  http.StatusNotFound,
		"/chain/log.json":              http.StatusNotFound,
		"/checkpoint":                  http.StatusNotFound,
	} {
		if status, _, _ := get(t, server, path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	answer, err := server.Client().Post(server.URL+"/chain/checkpoint", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", answer.StatusCode)
	}
}

type silent struct{}

func (silent) Published() []byte { return nil }
func (silent) Tile(context.Context, int, uint64, int) ([]byte, error) {
	return nil, fmt.Errorf("disk on fire at /var/lib/secret")
}

func TestFailuresSayNothingOfTheInside(t *testing.T) {
	server := httptest.NewServer(remote.NewHandler(silent{}))
	defer server.Close()
	if status, _, _ := get(t, server, "/chain/checkpoint"); status != http.StatusNotFound {
		t.Errorf("no checkpoint: %d", status)
	}
	if status, _, body := get(t, server, "/chain/tile/0/000"); status != http.StatusInternalServerError || bytes.Contains(body, []byte("secret")) {
		t.Errorf("%d %s", status, body)
	}
}

func FuzzParseTile(f *testing.F) {
	for _, path := range []string{"0/000", "entries/x001/234.p/5", "1/x001/x234/067", "0/000.p/256", "x", "0/-01"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		level, index, width, err := remote.ParseTile(path)
		if err != nil {
			return
		}
		name := fmt.Sprint(level)
		if level == chain.BundleLevel {
			name = "entries"
		}
		if got := tilePath(name, index, width); got != "/chain/tile/"+path {
			t.Errorf("%s is %s", path, got)
		}
	})
}
