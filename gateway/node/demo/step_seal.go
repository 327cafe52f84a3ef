package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/fhir/fhirtest"
	"github.com/wardkey/wardkey/records"
)

// loading is how many writes the loader has under way at once.
const loading = 32

// seal loads everything through the gateway: what stays in the clear first, then
// the patients' records, type by type in the order in which they refer to each
// other.
func (t *tale) seal(ctx context.Context) (string, error) {
	bar := newProgress(t.out, "sealing", len(t.cast.clear)+len(t.cast.sealed))
	c := t.as(loader)
	for _, wave := range waves(slices.Concat(t.cast.clear, t.cast.sealed)) {
		writes, ctx := errgroup.WithContext(ctx)
		writes.SetLimit(loading)
		for _, r := range wave {
			writes.Go(func() error {
				a, err := c.put(ctx, r)
				if err != nil {
					return err
				}
				if a.status != http.StatusCreated && (a.status != http.StatusOK || !inClear(r.Type())) {
					return a.unexpected("201")
				}
				if len(a.entries()) != 1 {
					return fmt.Errorf("%s: the write names no entry in the log", a)
				}
				bar.add(1)
				return nil
			})
		}
		if err := writes.Wait(); err != nil {
			return "", err
		}
	}
	patients := lo.CountBy(t.cast.sealed, func(r *fhir.Resource) bool { return r.Type() == "Patient" })
	t.h.pocket.Sealed = true
	if err := t.h.pocket.write(t.h.dir); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d records of %d patients sealed, a genomic panel among them; %d resources of the hospital itself left in the clear",
		len(t.cast.sealed), patients, len(t.cast.clear)), nil
}

// waves cuts resources, which come dependencies first, where the type changes.
func waves(rs []*fhir.Resource) [][]*fhir.Resource {
	var out [][]*fhir.Resource
	for i, r := range rs {
		if i == 0 || rs[i-1].Type() != r.Type() {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], r)
	}
	return out
}

// ciphertextOnly searches every file of the demonstration, and everything that
// the store hands out, for what the records say.
func (t *tale) ciphertextOnly(ctx context.Context) (string, error) {
	n := newNeedles(fhirtest.Canaries(t.cast.sealed))
	// A search that finds nothing anywhere proves nothing: it must find the
	// originals, every patient and every document among them. Many an observation
	// says nothing that could not stand elsewhere.
	found := 0
	for _, r := range t.cast.sealed {
		if _, ok := n.in(r.JSON()); ok {
			found++
		} else if r.Type() == "Patient" || r.Type() == "DocumentReference" {
			return "", fmt.Errorf("the search is blind: it does not find the original of %s", pathOf(r))
		}
	}
	files, fileBytes, err := scanFiles(t.h.dir, n)
	if err != nil {
		return "", err
	}
	sealed, storeBytes, err := t.scanStore(ctx, n)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d canaries found in %d originals, in none of %d files (%.0f MB) and none of the store's answers (%d sealed records, %.0f MB)",
		n.sought, found, files, mega(fileBytes), sealed, mega(storeBytes)), nil
}

func mega(n int64) float64 { return float64(n) / 1e6 }

// scanFiles searches every file under dir. No file is excepted: not the logs,
// not the indexes, not what the demonstration's user carries about.
func scanFiles(dir string, n *needles) (files int, size int64, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("search the files: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read from
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file that has been renamed meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if h, ok := n.in(data); ok {
			return fmt.Errorf("%s holds %q in the clear, at byte %d", name, h.canary, h.offset)
		}
		files, size = files+1, size+int64(len(data))
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("search the files: %w", err)
	}
	return files, size, nil
}

// scanStore asks the store, behind the gateway's back, for everything sealed in
// it, and wants each to be a skeleton around an envelope.
func (t *tale) scanStore(ctx context.Context, n *needles) (sealed int, size int64, err error) {
	store := caller{http: t.all.http, base: strings.TrimSuffix(t.h.upstream(), "/fhir")}
	var total atomic.Int64
	store.saw = func(a answer) { total.Add(int64(len(a.body))) }
	want := lo.CountValuesBy(t.cast.sealed, (*fhir.Resource).Type)
	for typ, count := range want {
		have := 0
		err := store.pages(ctx, "/fhir/"+typ+"?_count=200", func(a answer, rs []*fhir.Resource) error {
			if h, ok := n.in(a.body); ok {
				return fmt.Errorf("the store answers %s with %q in the clear", a, h.canary)
			}
			for _, r := range rs {
				if _, err := records.FromSkeleton(r); err != nil {
					return fmt.Errorf("the store's %s: %w", pathOf(r), err)
				}
			}
			have += len(rs)
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
		if have != count {
			return 0, 0, fmt.Errorf("the store has %d of %d sealed resources of type %s", have, count, typ)
		}
		sealed += have
	}
	return sealed, total.Load(), nil
}
