package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkRead measures a whole read over loopback (session, policy, logs on
// disk, four custodians in the same process, threshold opening) against the same read
// of the same skeleton from the embedded store called directly, turn by turn in
// one run. "bare-µs" and "whole-µs" are medians; with several clients the
// throughput decides, so "of-bare" is the share of the store's throughput that
// the gateway reaches.
func BenchmarkRead(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := newScene(b, wardOptions{disk: true})
			const records = 64
			for i := range records {
				s.load(s.loader, weight(b, fmt.Sprintf("r%d", i), "p1", i%28+1))
			}
			whole := s.reader(b, s.server.URL, s.doctor, clients)
			bare := s.reader(b, s.upstream.Base()[:len(s.upstream.Base())-len("/fhir")], "", clients)
			path := func(i int) string { return fmt.Sprintf("/fhir/Observation/r%d", i%records) }
			warm := max(64, clients*4)
			whole.run(warm, path)
			bare.run(warm, path)
			var direct, through []time.Duration
			var directTook, throughTook time.Duration
			done := 0
			for b.Loop() {
				const turn = 8
				n := turn * clients
				took, each := bare.run(n, path)
				directTook, direct = directTook+took, append(direct, each...)
				took, each = whole.run(n, path)
				throughTook, through = throughTook+took, append(through, each...)
				done += n
			}
			slices.Sort(direct)
			slices.Sort(through)
			p50 := func(d []time.Duration) float64 { return float64(d[len(d)/2].Microseconds()) }
			b.ReportMetric(p50(direct), "bare-µs")
			b.ReportMetric(p50(through), "whole-µs")
			b.ReportMetric(p50(through)-p50(direct), "more-µs")
			b.ReportMetric(p50(through)/p50(direct), "×bare")
			b.ReportMetric(float64(done)/directTook.Seconds(), "bare/s")
			b.ReportMetric(float64(done)/throughTook.Seconds(), "whole/s")
			b.ReportMetric(directTook.Seconds()/throughTook.Seconds(), "of-bare")
		})
	}
}

// reader reads over its own connections.
type reader struct {
	b       *testing.B
	base    string
	token   string
	clients int
	http    *http.Client
}

func (w *ward) reader(b *testing.B, base, token string, clients int) *reader {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	return &reader{b, base, token, clients, &http.Client{Transport: transport}}
}

// run reads n times with all clients and says how long it took, and each.
func (r *reader) run(n int, path func(int) string) (time.Duration, []time.Duration) {
	each := make([]time.Duration, n)
	var all sync.WaitGroup
	began := time.Now()
	for c := range r.clients {
		all.Go(func() {
			for i := c; i < n; i += r.clients {
				at := time.Now()
				r.one(path(i))
				each[i] = time.Since(at)
			}
		})
	}
	all.Wait()
	return time.Since(began), each
}

func (r *reader) one(path string) {
	req, err := http.NewRequest("GET", r.base+path, nil)
	if err != nil {
		r.b.Error(err)
		return
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.http.Do(req)
	if err != nil {
		r.b.Error(err)
		return
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		r.b.Errorf("%s: %d %v", path, res.StatusCode, err)
	}
}

// BenchmarkSearch measures a page of 50 sealed records against the same page of
// skeletons from the store.
func BenchmarkSearch(b *testing.B) {
	s := newScene(b, wardOptions{disk: true})
	for i := range 50 {
		s.load(s.loader, weight(b, fmt.Sprintf("r%d", i), "p1", i%28+1))
	}
	whole := s.reader(b, s.server.URL, s.doctor, 1)
	bare := s.reader(b, s.upstream.Base()[:len(s.upstream.Base())-len("/fhir")], "", 1)
	path := func(int) string { return "/fhir/Observation?patient=p1&_count=50" }
	whole.run(4, path)
	bare.run(4, path)
	var direct, through []time.Duration
	for b.Loop() {
		_, each := bare.run(2, path)
		direct = append(direct, each...)
		_, each = whole.run(2, path)
		through = append(through, each...)
	}
	slices.Sort(direct)
	slices.Sort(through)
	b.ReportMetric(float64(direct[len(direct)/2].Microseconds()), "bare-µs")
	b.ReportMetric(float64(through[len(through)/2].Microseconds()), "whole-µs")
	b.ReportMetric(float64(through[len(through)/2])/float64(direct[len(direct)/2]), "×bare")
}
