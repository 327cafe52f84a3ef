package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/wardkey/wardkey/fhir"
)

// Put stores r under its own type and id. With ifMatch, a version id, it does so
// only if that version is the current one, else [ErrConflict]; without, it creates
// the resource, or replaces whatever is there.
//
// After [ErrUnavailable] or [ErrAnswer] the write may or may not have happened:
// read back to know.
func (c *Client) Put(ctx context.Context, r *fhir.Resource, ifMatch string) (Version, error) {
	v, err := c.put(ctx, r, ifMatch)
	if err != nil {
		return Version{}, fmt.Errorf("put %s/%s: %w", r.Type(), r.ID(), err)
	}
	return v, nil
}

func (c *Client) put(ctx context.Context, r *fhir.Resource, version string) (Version, error) {
	if err := checkTarget(r.Type(), r.ID()); err != nil {
		return Version{}, err
	}
	header, err := writeHeader(version)
	if err != nil {
		return Version{}, err
	}
	a, err := c.send(ctx, call{
		method:  http.MethodPut,
		path:    []string{r.Type(), r.ID()},
		header:  header,
		content: fhirJSON,
		body:    r.JSON(),
	})
	if err != nil {
		return Version{}, err
	}
	return a.written(r, r.ID())
}

// Create stores r under an id that the server chooses; r's own id is not used. After
// [ErrUnavailable] or [ErrAnswer] the resource may or may not exist.
func (c *Client) Create(ctx context.Context, r *fhir.Resource) (Version, error) {
	v, err := c.create(ctx, r)
	if err != nil {
		return Version{}, fmt.Errorf("create %s: %w", r.Type(), err)
	}
	return v, nil
}

func (c *Client) create(ctx context.Context, r *fhir.Resource) (Version, error) {
	if !fhir.KnownType(r.Type()) {
		return Version{}, errors.New("not a resource type of R4")
	}
	header, err := writeHeader("")
	if err != nil {
		return Version{}, err
	}
	a, err := c.send(ctx, call{
		method:  http.MethodPost,
		path:    []string{r.Type()},
		header:  header,
		content: fhirJSON,
		body:    r.JSON(),
	})
	if err != nil {
		return Version{}, err
	}
	made := locationOf(a.header)
	if made.typ != r.Type() || made.id == "" {
		return Version{}, fmt.Errorf("%w: it does not say what was created", ErrAnswer)
	}
	return a.written(r, made.id)
}

// Delete deletes a resource; its history stays. With ifMatch, a version id, it does
// so only if that version is the current one, else [ErrConflict] or [ErrGone].
// Deleting what is absent or already deleted is no error, or [ErrNotFound], as the
// server likes. The returned version's id may be "": not every server says.
//
// HAPI does not look at If-Match when it deletes, so the current version is also
// read and compared first; there, a write that falls between the two is lost to the
// deletion, though not to the history.
func (c *Client) Delete(ctx context.Context, typ, id, ifMatch string) (Version, error) {
	v, err := c.delete(ctx, typ, id, ifMatch)
	if err != nil {
		return Version{}, fmt.Errorf("delete %s/%s: %w", typ, id, err)
	}
	return v, nil
}

func (c *Client) delete(ctx context.Context, typ, id, version string) (Version, error) {
	if err := checkTarget(typ, id); err != nil {
		return Version{}, err
	}
	header, err := writeHeader(version)
	if err != nil {
		return Version{}, err
	}
	if version != "" {
		current, err := c.get(ctx, typ, id, typ, id)
		if err != nil {
			return Version{}, err
		}
		if current.VersionID != version {
			return Version{}, ErrConflict
		}
	}
	a, err := c.send(ctx, call{method: http.MethodDelete, path: []string{typ, id}, header: header})
	if err != nil {
		return Version{}, err
	}
	v := Version{Deleted: true, VersionID: etag(a.header.Get("ETag")), LastUpdated: httpTime(a.header.Get("Last-Modified"))}
	if v.VersionID == "" {
		v.VersionID = locationOf(a.header).version
	}
	return v, nil
}

// Validate asks the server's $validate operation about r and returns its
// OperationOutcome, be it good news or bad.
func (c *Client) Validate(ctx context.Context, r *fhir.Resource) (*fhir.Resource, error) {
	if !fhir.KnownType(r.Type()) {
		return nil, fmt.Errorf("validate: not a resource type of R4")
	}
	a, err := c.send(ctx, call{
		method:  http.MethodPost,
		path:    []string{r.Type(), "$validate"},
		content: fhirJSON,
		body:    r.JSON(),
		safe:    true,
	})
	if rejected, ok := errors.AsType[*RejectedError](err); ok && rejected.Outcome != nil {
		return rejected.Outcome, nil // HAPI answers 412 or 422 when it finds errors
	}
	if err == nil {
		err = a.want("OperationOutcome", "")
	}
	if err != nil {
		return nil, fmt.Errorf("validate %s/%s: %w", r.Type(), r.ID(), err)
	}
	return a.resource, nil
}

// writeHeader asks for headers alone in answer: what was sent is known already.
func writeHeader(version string) (map[string]string, error) {
	header := map[string]string{"Prefer": "return=minimal"}
	if version == "" {
		return header, nil
	}
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	header["If-Match"] = ifMatch(version)
	return header, nil
}

// written is the version that a write made of what was sent, r, under id.
func (a *answer) written(r *fhir.Resource, id string) (Version, error) {
	if a.resource != nil && a.resource.Type() == r.Type() {
		if err := a.want(r.Type(), id); err != nil {
			return Version{}, err
		}
		return a.version()
	}
	// No body, or an OperationOutcome.
	headers := answer{header: a.header}
	v, err := headers.version()
	if err != nil {
		return Version{}, err
	}
	v.Resource, err = stamped(r, id, v)
	if err != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return v, nil
}

func stamped(r *fhir.Resource, id string, v Version) (*fhir.Resource, error) {
	if r.ID() != id {
		var err error
		if r, err = r.With(func(tree map[string]any) { tree["id"] = id }); err != nil {
			return nil, err
		}
	}
	meta := r.Meta()
	meta.VersionID, meta.LastUpdated = v.VersionID, v.LastUpdated
	return r.WithMeta(meta)
}
