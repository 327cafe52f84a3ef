package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wardkey/wardkey/records"
)

func TestWhatIsTooLargeToSealIsToldSo(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sized := func(size int) string {
		return strings.Replace(string(weight(t, "big", "p1", 5).JSON()), "canary-note-big", strings.Repeat("x", size), 1)
	}
	for _, size := range []int{7 << 20, 10<<20 - 2000, 11 << 20, 20 << 20} {
		a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: sized(size)})
		if a.status != http.StatusRequestEntityTooLarge || a.resource(t).Type() != "OperationOutcome" {
			t.Errorf("%d bytes: %d", size, a.status)
		}
	}
	// What is not refused is what a store takes.
	large := resourceOf(t, sized(7<<20-600))
	skeleton, err := records.Skeleton(large, s.Seal(large))
	s.check(err)
	if size := len(skeleton.JSON()); size > 10<<20 {
		t.Errorf("%d bytes once sealed", size)
	}
	if a := s.do(asking{method: "POST", path: "/fhir/Observation", token: s.loader, body: sized(300 << 10)}); a.status != http.StatusCreated {
		t.Errorf("%d", a.status)
	}
}

func TestAClientThatSendsTooMuchSeesTheAnswer(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for name, body := range map[string]func() io.Reader{
		"with its length":    func() io.Reader { return bytes.NewReader(make([]byte, 14<<20)) },
		"without its length": func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 14<<20))) },
	} {
		for _, path := range []string{"/fhir/Observation", "/fhir"} {
			r, err := http.NewRequest(http.MethodPost, s.server.URL+path, body())
			s.check(err)
			r.Header.Set("Content-Type", "application/fhir+json")
			r.Header.Set("Authorization", "Bearer "+s.loader)
			res, err := s.server.Client().Do(r)
			if err != nil {
				t.Errorf("%s to %s: %v", name, path, err)
				continue
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%s to %s: %d", name, path, res.StatusCode)
			}
		}
	}
}
