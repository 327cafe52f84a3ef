package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wardkey/wardkey/gateway/node/demo"
)

// patience is how long anything that has to happen may take on a busy machine.
const patience = 90 * time.Second

// A process is a running wardkey.
type process struct {
	cmd    *exec.Cmd
	stdout safeBuffer
	stderr safeBuffer
	ended  chan struct{} // closed when it has been waited for
	err    error         // of the wait; read after ended
}

// A safeBuffer is written by a process while a test looks at it.
type safeBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts wardkey with the arguments.
func start(args ...string) (*process, error) { return startIn("", args...) }

// startIn starts it with a folder of its own for temporary files.
func startIn(temp string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(wardkey, args...), ended: make(chan struct{})}
	if temp != "" {
		p.cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// end sends a signal and waits for the exit code.
func (p *process) end(sig os.Signal) (int, error) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	return p.code()
}

// code waits for the exit code.
func (p *process) code() (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, errors.Join(errors.New("it does not end"), p.cmd.Process.Kill())
	}
}

// wardkeyRun runs a command to its end.
func wardkeyRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p, err := start(args...)
	if err != nil {
		t.Fatal(err)
	}
	if code, err = p.code(); err != nil {
		t.Fatalf("wardkey %s: %v", strings.Join(args, " "), err)
	}
	return code, p.stdout.String(), p.stderr.String()
}

// serving waits until a demo has written demo.json, and reads it.
func (p *process) serving(dir string) (demo.Document, error) {
	var doc demo.Document
	deadline := time.Now().Add(patience)
	for {
		data, err := os.ReadFile(filepath.Join(dir, "demo.json"))
		if err == nil {
			return doc, json.Unmarshal(data, &doc)
		}
		select {
		case <-p.ended:
			return doc, fmt.Errorf("it ended: %w\n%s%s", p.err, p.stdout.String(), p.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return doc, fmt.Errorf("no demo.json after %s\n%s%s", patience, p.stdout.String(), p.stderr.String())
		}
	}
}

// A hospital is a demo that serves.
type hospital struct {
	*process
	demo.Document
}

// serve starts a demo on a directory and waits until it serves.
func serve(dir string, args ...string) (*hospital, error) {
	// One that was killed has left its own.
	if err := os.Remove(filepath.Join(dir, "demo.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p, err := start(append([]string{"demo", "--dir", dir, "--addr", "127.0.0.1:0"}, args...)...)
	if err != nil {
		return nil, err
	}
	doc, err := p.serving(dir)
	if err != nil {
		return nil, errors.Join(err, p.cmd.Process.Kill())
	}
	return &hospital{process: p, Document: doc}, nil
}

// shared is the one demo that tests share which leave it as they find it.
var shared sharedHospital

type sharedHospital struct {
	once sync.Once
	dir  string
	h    *hospital
	err  error
}

// open plays the whole story, the first time, and then serves.
func (s *sharedHospital) open(t *testing.T) *hospital {
	t.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "wardkey-e2e-demo-"); s.err != nil {
			return
		}
		s.h, s.err = serve(s.dir, "--json")
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.h
}

func (s *sharedHospital) close() {
	if s.h != nil {
		if _, err := s.h.end(syscall.SIGTERM); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // a temporary folder
	}
}

// A reply is what a hospital answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// json is the body as a tree.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(r.body, &tree); err != nil {
		t.Fatalf("%v in %q", err, r.body)
	}
	return tree
}

// entry is the value of Wardkey-Entry.
func (r reply) entry() string { return r.header.Get("Wardkey-Entry") }

// call sends a request; a body that is not bytes is sent as JSON.
func call(ctx context.Context, method, url, token string, body any, headers ...string) (reply, error) {
	var data []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		data = b
	default:
		var err error
		if data, err = json.Marshal(b); err != nil {
			return reply{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: got}, err
}

// ask is call for tests: what cannot be sent fails the test.
func (h *hospital) ask(t *testing.T, method, path, token string, body any, headers ...string) reply {
	t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = strings.TrimSuffix(h.FHIR, "/fhir") + path
	}
	r, err := call(t.Context(), method, url, token, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}
