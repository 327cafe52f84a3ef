package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/rego"

	rules "github.com/wardkey/wardkey/policy/rego"
)

// Forget makes the engine evaluate the rules again.
func (e *Engine) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.known)
}

// Put indexes a statement without looking at any signature.
func (s *State) Put(g Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statements.add(&record{grant: g, digest: g.Digest(), provision: compile(g, terms())}, 0)
}

// Live is how many statements about a patient decisions look through.
func (s *State) Live(patient string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := s.statements.byPatient[patient]
	listed := 0
	for _, lists := range []map[string][]*record{d.grants, d.others, d.denials} {
		for _, list := range lists {
			listed += len(list)
		}
	}
	return max(len(d.live), listed)
}

// Followed is how many patients are looked through for an actor.
func (s *State) Followed(actor string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.statements.byActor[actor])
}

// PutRelation indexes a relation without looking at any signature.
func (s *State) PutRelation(r Relation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relations.put(r, nil)
}

// Modules are the rule files, parsed with their annotations.
func Modules() (map[string]*ast.Module, error) {
	options, err := parseRules()
	if err != nil {
		return nil, err
	}
	capabilities, err := allowed()
	if err != nil {
		return nil, err
	}
	query, err := rego.New(append(options, rego.Query("data.wardkey"), rego.Capabilities(capabilities), rego.Strict(true))...).PrepareForEval(context.Background())
	if err != nil {
		return nil, err
	}
	return query.Modules(), nil
}

// Cover evaluates again everything that the engine has been asked, and what it
// cannot be asked but the rules provide for, and reports which lines of the
// rules that reached.
func (e *Engine) Cover() (cover.Report, error) {
	modules, err := Modules()
	if err != nil {
		return cover.Report{}, err
	}
	c := cover.New()
	for s := range e.known {
		if got := e.traced(c, s); fmt.Sprint(got) != fmt.Sprint(e.known[s]) {
			return cover.Report{}, fmt.Errorf("%+v: now %+v, before %+v", s, got, e.known[s])
		}
	}
	unknown := situation{session: true, stated: true, scope: true, roles: "doctor", action: "export"}
	if got := e.traced(c, unknown); got.permit || got.rule != "decide.silence" {
		return cover.Report{}, fmt.Errorf("an unknown action: %+v", got)
	}
	options, err := parseRules()
	if err != nil {
		return cover.Report{}, err
	}
	if _, err := rego.New(append(options, rego.Query("data.wardkey.terms"), rego.QueryTracer(c))...).Eval(context.Background()); err != nil {
		return cover.Report{}, err
	}
	return c.Report(modules), nil
}

func (e *Engine) traced(c *cover.Cover, s situation) verdict {
	rs, err := e.query.Eval(context.Background(), rego.EvalParsedInput(e.input.document([]situation{s})), rego.EvalQueryTracer(c))
	if err != nil || len(rs) != 1 {
		return failed
	}
	list, ok := rs[0].Expressions[0].Value.([]any)
	if !ok || len(list) != 1 {
		return failed
	}
	v, err := readVerdict(list[0])
	if err != nil {
		return failed
	}
	return v
}

// FailWith makes the rules answer with a document of the test's.
func (e *Engine) FailWith(answer string) error {
	query, err := rego.New(rego.Query("data.x.verdicts"), rego.Module("x.rego", "package x\n"+answer)).PrepareForEval(context.Background())
	e.query = query
	e.Forget()
	return err
}

// CompileAlone compiles one module under the capabilities of the rules.
func CompileAlone(module string) error {
	capabilities, err := allowed()
	if err != nil {
		return err
	}
	_, err = rego.New(rego.Query("data.x.v"), rego.Module("x.rego", module), rego.Capabilities(capabilities), rego.Strict(true)).PrepareForEval(context.Background())
	return err
}

// Shortcut compares, over every combination of facts, what the rules say with
// what they say without their first line, and returns how often that line spoke.
func Shortcut(ctx context.Context, short, long *Engine) (used int, err error) {
	for _, base := range []situation{
		{session: true, stated: true, scope: true, roles: "doctor", action: Read, purpose: "TREAT", typ: "Observation", conf: "N"},
		{session: true, stated: true, scope: true, roles: "patient", action: Search, purpose: "PATRQT", typ: "Observation", conf: "R"},
		{session: true, stated: true, scope: true, roles: "doctor patient", action: History, purpose: "TREAT", typ: "Observation", conf: "N", implicit: ImplicitAllNormal},
		{session: true, stated: true, scope: true, roles: "doctor", action: Read, purpose: "BTG", typ: "Observation", conf: "N"},
		{session: true, stated: true, scope: true, roles: "doctor", action: Create, purpose: "TREAT", typ: "Observation", conf: "N"},
		{session: true, stated: true, scope: true, roles: "nurse", action: Lookup, purpose: "TREAT", typ: "Patient", conf: "N"},
		{stated: true, scope: true, roles: "doctor", action: Read, purpose: "TREAT", typ: "Observation", conf: "N"},
		{session: true, scope: true, roles: "doctor", action: Read, purpose: "TREAT", typ: "Observation", conf: "N"},
		{session: true, stated: true, roles: "doctor", action: Read, purpose: "TREAT", typ: "Observation", conf: "N"},
	} {
		var all []situation
		for denies := range uint8(1 << denyNumber) {
			for permits := range uint8(1 << len(permitNames)) {
				for _, related := range []uint8{0, 1 << relSelf, 1 << relTreats, 1 << relAdmitted, 1 << relCovers, 1 << relGuardian, 1<<relNumber - 1} {
					s := base
					s.denies, s.permits, s.related, s.misses = denies, permits, related, bit(denies&1 == 0, int(missExpired))
					all = append(all, s)
				}
			}
		}
		var a, b []verdict
		for some := range slices.Chunk(all, 32) {
			a, b = append(a, short.evaluate(ctx, some)...), append(b, long.evaluate(ctx, some)...)
		}
		for i := range all {
			if fmt.Sprint(a[i]) != fmt.Sprint(b[i]) || a[i].reason == Failed {
				return used, fmt.Errorf("%+v: %+v, without the first line %+v", all[i], a[i], b[i])
			}
			if a[i].rule == "read.granted" {
				used++
			}
		}
	}
	return used, nil
}

// Replace makes the engine use rules changed by edit.
func (e *Engine) Replace(edit func(file, text string) string) error {
	capabilities, err := allowed()
	if err != nil {
		return err
	}
	options := []func(*rego.Rego){rego.Query("data.wardkey.decide.verdicts"), rego.Capabilities(capabilities)}
	entries, err := rules.Files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if text, _ := rules.Files.ReadFile(entry.Name()); strings.HasSuffix(entry.Name(), ".rego") {
			options = append(options, rego.Module(entry.Name(), edit(entry.Name(), string(text))))
		}
	}
	e.query, err = rego.New(options...).PrepareForEval(context.Background())
	e.Forget()
	return err
}
