package smart

import (
	"fmt"
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/policy"
)

// grantScope cuts what is asked for to what the client is registered with; all
// of that if nothing is asked for. What is granted is in the answer, as RFC 6749
// §5.1 wants it where it is less. ErrScope if nothing is left, or if something
// is asked for that is not understood: to leave out a restriction would widen.
func grantScope(registered policy.Client, wanted []string) ([]string, policy.Scopes, error) {
	granted := registered.Scopes
	if len(wanted) > 0 {
		if _, err := policy.ParseScopes(wanted); err != nil {
			return nil, policy.Scopes{}, fmt.Errorf("%w: %w", ErrScope, err)
		}
		granted = nil
		for _, w := range wanted {
			for _, r := range registered.Scopes {
				if both, ok := meet(w, r); ok && !slices.Contains(granted, both) {
					granted = append(granted, both)
				}
			}
		}
		if len(granted) == 0 {
			return nil, policy.Scopes{}, ErrScope
		}
	}
	if len(granted) > chain.MaxScopes || slices.ContainsFunc(granted, func(s string) bool { return len(s) > chain.MaxScopeBytes }) {
		return nil, policy.Scopes{}, fmt.Errorf("%w: more than an entry of the log can name", ErrScope)
	}
	scopes, err := policy.ParseScopes(granted)
	if err != nil {
		return nil, policy.Scopes{}, fmt.Errorf("%w: %w", ErrScope, err)
	}
	return granted, scopes, nil
}

// meet is what two scopes have in common, as one scope.
func meet(a, b string) (string, bool) {
	if a == b {
		return a, true
	}
	x, okX := split(a)
	y, okY := split(b)
	if !okX || !okY || x.context != y.context {
		return "", false
	}
	both := parts{context: x.context}
	switch {
	case x.typ == y.typ, y.typ == "*":
		both.typ = x.typ
	case x.typ == "*":
		both.typ = y.typ
	default:
		return "", false
	}
	for _, letter := range x.letters {
		if strings.ContainsRune(y.letters, letter) {
			both.letters += string(letter)
		}
	}
	switch {
	case x.restriction == y.restriction, y.restriction == "":
		both.restriction = x.restriction
	case x.restriction == "":
		both.restriction = y.restriction
	default:
		return "", false // two restrictions at once are not one scope
	}
	return both.String(), both.letters != ""
}

// parts are those of a resource scope, SMART 2.2.
type parts struct{ context, typ, letters, restriction string }

func (p parts) String() string {
	return p.context + "/" + p.typ + "." + p.letters + lo.Ternary(p.restriction == "", "", "?"+p.restriction)
}

// split takes a resource scope apart, v1 written as v2; false for scopes that
// give no access to data.
func split(scope string) (p parts, ok bool) {
	parsed, err := policy.ParseScopes([]string{scope})
	if err != nil {
		return p, false
	}
	rest, restriction, _ := strings.Cut(parsed.String(), "?")
	context, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return p, false
	}
	typ, letters, ok := strings.Cut(rest, ".")
	return parts{context, typ, letters, restriction}, ok
}
