package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// maxEntries bounds one page; a server has no business sending more unasked.
const maxEntries = 10_000

// Search returns the first page of a search; see [Client.NextPage]. The parameters
// travel in the body of POST _search, and so in nobody's access log.
func (c *Client) Search(ctx context.Context, typ string, q url.Values) (fhir.Bundle, error) {
	bundle, err := c.search(ctx, typ, q)
	if err != nil {
		return fhir.Bundle{}, fmt.Errorf("search %s: %w", typ, err)
	}
	return bundle, nil
}

func (c *Client) search(ctx context.Context, typ string, q url.Values) (fhir.Bundle, error) {
	if !fhir.KnownType(typ) {
		return fhir.Bundle{}, errors.New("not a resource type of R4")
	}
	return c.bundle(ctx, call{
		method:  http.MethodPost,
		path:    []string{typ, "_search"},
		content: formBody,
		body:    []byte(q.Encode()),
		// HAPI answers a search from an earlier equal one for a minute unless told not to.
		header: map[string]string{"Cache-Control": "no-cache"},
		safe:   true,
	}, "searchset")
}

// NextPage returns the page after b, and false if b is the last.
func (c *Client) NextPage(ctx context.Context, b fhir.Bundle) (fhir.Bundle, bool, error) {
	next, more, err := c.nextPage(ctx, b)
	if err != nil {
		return fhir.Bundle{}, false, fmt.Errorf("next page: %w", err)
	}
	return next, more, nil
}

func (c *Client) nextPage(ctx context.Context, b fhir.Bundle) (fhir.Bundle, bool, error) {
	link, ok := lo.Find(b.Links, func(l fhir.Link) bool { return l.Relation == "next" })
	if !ok {
		return fhir.Bundle{}, false, nil
	}
	target, err := c.pageURL(link.URL)
	if err != nil {
		return fhir.Bundle{}, false, err
	}
	next, err := c.bundle(ctx, call{method: http.MethodGet, url: target}, b.Type)
	return next, err == nil, err
}

// pageURL reads a page link, which a server may write in full, from its root or
// relative to its base, and which must lead to the store that wrote it.
func (c *Client) pageURL(link string) (*url.URL, error) {
	base := *c.base
	base.Path += "/"
	target, err := base.Parse(link)
	if err != nil || !within(c.base, target) {
		return nil, fmt.Errorf("%w: a page of another server", ErrAnswer)
	}
	target.Fragment, target.RawFragment = "", ""
	return target, nil
}

// pages calls visit for the page b and all that follow it.
func (c *Client) pages(ctx context.Context, b fhir.Bundle, visit func(fhir.Bundle) error) error {
	seen := make(map[string]struct{})
	for range maxPages {
		if err := visit(b); err != nil {
			return err
		}
		for _, l := range b.Links {
			if l.Relation != "next" {
				continue
			}
			if _, again := seen[l.URL]; again {
				return fmt.Errorf("%w: pages that go round in a circle", ErrAnswer)
			}
			seen[l.URL] = struct{}{}
		}
		next, more, err := c.nextPage(ctx, b)
		if err != nil || !more {
			return err
		}
		b = next
	}
	return fmt.Errorf("%w: more than %d pages", ErrAnswer, maxPages)
}

// bundle sends a call that must be answered with a Bundle of the given type.
func (c *Client) bundle(ctx context.Context, call call, typ string) (fhir.Bundle, error) {
	a, err := c.send(ctx, call)
	if err != nil {
		return fhir.Bundle{}, err
	}
	if err := a.want("Bundle", ""); err != nil {
		return fhir.Bundle{}, err
	}
	b, err := fhir.ParseBundle(a.resource, maxEntries)
	switch {
	case err != nil:
		return fhir.Bundle{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	case !strings.EqualFold(b.Type, typ):
		return fhir.Bundle{}, fmt.Errorf("%w: not a %s", ErrAnswer, typ)
	}
	return b, nil
}
