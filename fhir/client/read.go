package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/samber/lo"
	"golang.org/x/sync/errgroup"

	"github.com/wardkey/wardkey/fhir"
)

// Bounds on what one call asks for.
const (
	idsPerSearch    = 50    // HAPI's page limit, out of the box
	searchesAtATime = 4     // of one ReadMany
	pageSize        = 100   // of a history
	maxPages        = 1000  // of a history or of a ReadMany
	maxVersions     = 20000 // of one resource
	maxVersionID    = 128   // bytes
)

// Read returns the current version of a resource, [ErrNotFound] or [ErrGone].
func (c *Client) Read(ctx context.Context, typ, id string) (Version, error) {
	v, err := c.get(ctx, typ, id, typ, id)
	if err != nil {
		return Version{}, fmt.Errorf("read %s/%s: %w", typ, id, err)
	}
	return v, nil
}

// VRead returns one version of a resource, [ErrNotFound], or [ErrGone] if that
// version is a deletion.
func (c *Client) VRead(ctx context.Context, typ, id, versionID string) (Version, error) {
	if err := checkVersion(versionID); err != nil {
		return Version{}, fmt.Errorf("read a version of %s/%s: %w", typ, id, err)
	}
	v, err := c.get(ctx, typ, id, typ, id, "_history", versionID)
	if err != nil {
		return Version{}, fmt.Errorf("read %s/%s version %s: %w", typ, id, versionID, err)
	}
	if v.VersionID != versionID {
		return Version{}, fmt.Errorf("read %s/%s version %s: %w: another version", typ, id, versionID, ErrAnswer)
	}
	return v, nil
}

func (c *Client) get(ctx context.Context, typ, id string, path ...string) (Version, error) {
	if err := checkTarget(typ, id); err != nil {
		return Version{}, err
	}
	a, err := c.send(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return Version{}, err
	}
	if err := a.want(typ, id); err != nil {
		return Version{}, err
	}
	return a.version()
}

// ReadMany returns the current versions of those of the ids that exist; the others
// are simply not in the map. It searches by _id, some tens of ids a request, and
// accepts nothing that it did not ask for. It fails as a whole.
func (c *Client) ReadMany(ctx context.Context, typ string, ids []string) (map[string]Version, error) {
	for _, id := range ids {
		if err := checkTarget(typ, id); err != nil {
			return nil, fmt.Errorf("read many: %w", err)
		}
	}
	ids = lo.Uniq(ids)
	var mu sync.Mutex // guards found
	found := make(map[string]Version, len(ids))

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(searchesAtATime)
	for _, chunk := range lo.Chunk(ids, idsPerSearch) {
		group.Go(func() error {
			versions, err := c.readChunk(ctx, typ, chunk)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range versions {
				found[v.Resource.ID()] = v
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read %d of %s: %w", len(ids), typ, err)
	}
	return found, nil
}

func (c *Client) readChunk(ctx context.Context, typ string, ids []string) ([]Version, error) {
	asked := lo.Keyify(ids)
	query := url.Values{"_id": {strings.Join(ids, ",")}, "_count": {fmt.Sprint(len(ids))}}
	var versions []Version
	bundle, err := c.search(ctx, typ, query)
	if err != nil {
		return nil, err
	}
	err = c.pages(ctx, bundle, func(page fhir.Bundle) error {
		for _, entry := range page.Entries {
			if entry.SearchMode == "outcome" || entry.Resource == nil {
				continue
			}
			if _, ok := asked[entry.Resource.ID()]; !ok || entry.Resource.Type() != typ {
				return fmt.Errorf("%w: a resource that was not asked for", ErrAnswer)
			}
			v := merge(Version{Resource: entry.Resource}, entry.Resource.Meta())
			if v.VersionID == "" {
				return fmt.Errorf("%w: without a version", ErrAnswer)
			}
			versions = append(versions, v)
		}
		return nil
	})
	return versions, err
}

// History returns all versions of a resource, newest first, deletions included, or
// [ErrNotFound].
func (c *Client) History(ctx context.Context, typ, id string) ([]Version, error) {
	versions, err := c.history(ctx, typ, id)
	if err != nil {
		return nil, fmt.Errorf("history of %s/%s: %w", typ, id, err)
	}
	return versions, nil
}

func (c *Client) history(ctx context.Context, typ, id string) ([]Version, error) {
	if err := checkTarget(typ, id); err != nil {
		return nil, err
	}
	first, err := c.bundle(ctx, call{
		method: http.MethodGet,
		path:   []string{typ, id, "_history"},
		query:  url.Values{"_count": {fmt.Sprint(pageSize)}},
		header: map[string]string{"Cache-Control": "no-cache"},
	}, "history")
	if err != nil {
		return nil, err
	}
	var versions []Version
	err = c.pages(ctx, first, func(page fhir.Bundle) error {
		for _, entry := range page.Entries {
			v, err := historyVersion(typ, id, entry)
			if err != nil {
				return err
			}
			if versions = append(versions, v); len(versions) > maxVersions {
				return fmt.Errorf("%w: more than %d versions", ErrAnswer, maxVersions)
			}
		}
		return nil
	})
	return versions, err
}

// historyVersion reads one entry of a history. A deletion has no resource (R4
// §3.1.0.9), and its version may be in the entity tag or in a URL.
func historyVersion(typ, id string, entry fhir.BundleEntry) (Version, error) {
	v := Version{Deleted: entry.Request != nil && entry.Request.Method == http.MethodDelete}
	if entry.Response != nil {
		v.VersionID, v.LastUpdated = etag(entry.Response.ETag), entry.Response.LastModified
	}
	if entry.Resource != nil {
		if entry.Resource.Type() != typ || entry.Resource.ID() != id {
			return Version{}, fmt.Errorf("%w: another resource's history", ErrAnswer)
		}
		v = merge(v, entry.Resource.Meta())
		if !v.Deleted {
			v.Resource = entry.Resource
		}
	} else if !v.Deleted {
		return Version{}, fmt.Errorf("%w: a version without its resource", ErrAnswer)
	}
	if v.VersionID == "" && entry.Request != nil {
		_, v.VersionID, _ = strings.Cut(entry.Request.URL, "/_history/")
	}
	if v.VersionID == "" {
		return Version{}, fmt.Errorf("%w: without a version", ErrAnswer)
	}
	return v, nil
}

func checkTarget(typ, id string) error {
	switch {
	case !fhir.KnownType(typ):
		return errors.New("not a resource type of R4")
	case !fhir.ValidID(id):
		return errors.New("not a valid id")
	}
	return nil
}

// checkVersion refuses what could leave its path segment or its header.
func checkVersion(version string) error {
	if version == "" || len(version) > maxVersionID || version == "." || version == ".." {
		return errors.New("not a version id")
	}
	for _, b := range []byte(version) {
		if b <= ' ' || b >= 0x7f || b == '"' || b == '/' || b == '\\' {
			return errors.New("not a version id")
		}
	}
	return nil
}
