package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// inputTerms are the parts of OPA's input, built once: names, and every set
// that a few bits can be. An input built of them costs a fraction of one that
// OPA converts from Go values.
type inputTerms struct {
	session, stated, roles, action, does, purpose, implicit, items         *ast.Term
	typ, conf, scope, registered, hidden, denies, permits, misses, related *ast.Term
	setDenies, setPermits, setMisses, setRelated                           []*ast.Term
}

func newInputTerms() *inputTerms {
	s := ast.StringTerm
	return &inputTerms{
		session: s("session"), stated: s("stated"), roles: s("roles"), action: s("action"), does: s("does"), purpose: s("purpose"), implicit: s("implicit"), items: s("items"),
		typ: s("type"), conf: s("conf"), scope: s("scope"), registered: s("registered"), hidden: s("hidden"),
		denies: s("denies"), permits: s("permits"), misses: s("misses"), related: s("relations"),
		setDenies: subsets(denyNames[:]), setPermits: subsets(permitNames[:]), setMisses: subsets(missNames[:]), setRelated: subsets(relNames[:]),
	}
}

// subsets returns the set of names for every combination of bits.
func subsets(names []string) []*ast.Term {
	out := make([]*ast.Term, 1<<len(names))
	for bits := range out {
		set := ast.NewSet()
		for i, name := range names {
			if bits>>i&1 == 1 {
				set.Add(ast.StringTerm(name))
			}
		}
		out[bits] = ast.NewTerm(set)
	}
	return out
}

// document is the input for situations of one request.
func (t *inputTerms) document(situations []situation) ast.Value {
	one := situations[0]
	items := make([]*ast.Term, len(situations))
	for i := range situations {
		items[i] = t.item(&situations[i])
	}
	roles := ast.NewSet()
	for role := range strings.SplitSeq(one.roles, " ") {
		roles.Add(ast.InternedTerm(role))
	}
	implicit := one.implicit
	if implicit == "" {
		implicit = ImplicitDeny
	}
	return ast.NewObject(
		[2]*ast.Term{t.session, ast.InternedTerm(one.session)},
		[2]*ast.Term{t.stated, ast.InternedTerm(one.stated)},
		[2]*ast.Term{t.roles, ast.NewTerm(roles)},
		[2]*ast.Term{t.action, ast.InternedTerm(one.action)},
		[2]*ast.Term{t.does, ast.InternedTerm(terms().Actions[one.action])},
		[2]*ast.Term{t.purpose, ast.InternedTerm(one.purpose)},
		[2]*ast.Term{t.implicit, ast.InternedTerm(implicit)},
		[2]*ast.Term{t.items, ast.NewTerm(ast.NewArray(items...))},
	)
}

func (t *inputTerms) item(s *situation) *ast.Term {
	return ast.NewTerm(ast.NewObject(
		[2]*ast.Term{t.typ, ast.InternedTerm(s.typ)},
		[2]*ast.Term{t.conf, ast.InternedTerm(s.conf)},
		[2]*ast.Term{t.scope, ast.InternedTerm(s.scope)},
		[2]*ast.Term{t.registered, ast.InternedTerm(s.register)},
		[2]*ast.Term{t.hidden, ast.InternedTerm(s.hidden)},
		[2]*ast.Term{t.denies, t.setDenies[s.denies]},
		[2]*ast.Term{t.permits, t.setPermits[s.permits]},
		[2]*ast.Term{t.misses, t.setMisses[s.misses]},
		[2]*ast.Term{t.related, t.setRelated[s.related]},
	))
}
