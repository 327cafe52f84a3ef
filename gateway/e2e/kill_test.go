package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/wardkey/wardkey/chain/audit"
)

// TestWhatWasAcknowledgedBeforeAKillIsThereAfterIt kills everything at once, in
// the middle of writes, and starts it again on the same directory.
func TestWhatWasAcknowledgedBeforeAKillIsThereAfterIt(t *testing.T) {
	t.Parallel()
	const writers, enough = 8, 250
	dir := rest.again(t)
	h, err := serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards acknowledged
	acknowledged := map[string]int{}
	killed, kill := context.WithCancel(t.Context())
	defer kill()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := 0; killed.Err() == nil; n++ {
				value := w*100_000 + n
				// The context is not the one that the kill ends: an answer that is under
				// way may still come, and then it counts.
				r, err := call(t.Context(), http.MethodPost, h.FHIR+"/Observation", h.Tokens.Loader, observation(h.Patients.A, value),
					"Content-Type", "application/fhir+json")
				if err != nil {
					return // the process is gone
				}
				if r.status != http.StatusCreated {
					t.Errorf("create: %d %s", r.status, r.body)
					return
				}
				var made struct{ ID string }
				if err := json.Unmarshal(r.body, &made); err != nil {
					t.Errorf("create: %v", err)
					return
				}
				mu.Lock()
				acknowledged[made.ID] = value
				if len(acknowledged) == enough {
					kill()
				}
				mu.Unlock()
			}
		})
	}
	<-killed.Done()
	if _, err := h.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	writing.Wait()

	again, err := serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	for id, value := range acknowledged {
		r := again.ask(t, http.MethodGet, "/fhir/Observation/"+id, again.Tokens.Patient, nil)
		if r.status != http.StatusOK || !strings.Contains(string(r.body), fmt.Sprintf(`"value":%d,`, value)) && !strings.Contains(string(r.body), fmt.Sprintf(`"value":%d}`, value)) {
			t.Errorf("acknowledged %s with %d: %d %.300s", id, value, r.status, r.body)
		}
	}
	id := again.create(t, again.Patients.A, 7)
	if r := again.ask(t, http.MethodGet, "/fhir/Observation/"+id, again.Tokens.Patient, nil); r.status != http.StatusOK {
		t.Errorf("written after the restart: %d", r.status)
	}
	if code, err := again.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("it ends with %d, %v\n%s", code, err, again.stderr.String())
	}
	for _, log := range []string{again.Log, dir + "/custodian-1/log", dir + "/custodian-4/log"} {
		r, err := audit.Verify(t.Context(), log, audit.Options{})
		if err != nil || !r.OK {
			t.Errorf("%s: %+v %v", log, r.Findings, err)
		}
	}
	t.Logf("%d acknowledged writes, all there", len(acknowledged))
}
