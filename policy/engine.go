package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"

	rules "github.com/wardkey/wardkey/policy/rego"
)

// evaluationTime is how long the rules may take. They need microseconds; this is
// for a machine that is out of breath.
const evaluationTime = time.Second

// remembered bounds how many situations an engine remembers. There are few:
// a busy ward has hundreds.
const remembered = 1 << 14

// Engine evaluates the rules. It is safe for concurrent use.
type Engine struct {
	query  rego.PreparedEvalQuery
	terms  *termTable
	input  *inputTerms
	digest [32]byte

	mu     sync.RWMutex
	known  map[situation]verdict // guarded by mu; a verdict is a pure function of its situation
	parsed map[string]Scopes     // guarded by mu
}

// NewEngine compiles the rules that are part of this binary.
func NewEngine(ctx context.Context) (*Engine, error) {
	modules, err := parseRules()
	if err != nil {
		return nil, fmt.Errorf("parse rules: %w", err)
	}
	capabilities, err := allowed()
	if err != nil {
		return nil, fmt.Errorf("parse rules: %w", err)
	}
	options := append(modules,
		rego.Query("data.wardkey.decide.verdicts"), rego.Capabilities(capabilities), rego.Strict(true), rego.StrictBuiltinErrors(true))
	query, err := rego.New(options...).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("compile rules: %w", err)
	}
	digest, err := digestRules()
	if err != nil {
		return nil, fmt.Errorf("digest rules: %w", err)
	}
	return &Engine{
		query: query, terms: terms(), input: newInputTerms(), digest: digest,
		known: map[situation]verdict{}, parsed: map[string]Scopes{},
	}, nil
}

// Digest is SHA-256 over the rules: every file of the folder rego, tables and
// capabilities among them. Every decision carries it.
func (e *Engine) Digest() [32]byte { return e.digest }

func digestRules() ([32]byte, error) {
	h := sha256.New()
	h.Write([]byte("wardkey-policy-v1\x00"))
	entries, err := rules.Files.ReadDir(".") // sorted by name
	if err != nil {
		return [32]byte{}, err
	}
	for _, entry := range entries {
		text, err := rules.Files.ReadFile(entry.Name())
		if err != nil {
			return [32]byte{}, err
		}
		for _, part := range [][]byte{[]byte(entry.Name()), text} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

// Decide decides one request. It never fails: what goes wrong is a denial, with
// the reason [Failed].
func (e *Engine) Decide(ctx context.Context, s *State, req Request, now time.Time) Decision {
	return e.DecideAll(ctx, s, req, []Resource{req.Resource}, now)[0]
}

// DecideAll decides the same request on each of rs, in one evaluation. The
// request's own Resource is not looked at.
func (e *Engine) DecideAll(ctx context.Context, s *State, req Request, rs []Resource, now time.Time) []Decision {
	decisions := make([]Decision, len(rs))
	all := make([]facts, len(rs))
	situations := make([]situation, len(rs))
	a := &asked{id: req.Subject.ID, roles: req.Subject.Roles, action: req.Action, purpose: req.Purpose, now: now.UnixMilli()}
	e.gather(s, &req, rs, a, all, situations)
	verdicts := e.verdicts(ctx, situations)
	for i := range rs {
		decisions[i] = verdicts[i].decision(a, &all[i])
		decisions[i].Policy = e.digest
		if decisions[i].Permit {
			decisions[i].limit(a.end)
		}
	}
	return decisions
}

// gather looks up, under the state's lock, what matters about each record.
func (e *Engine) gather(s *State, req *Request, rs []Resource, a *asked, all []facts, situations []situation) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var common situation
	client, registered := s.trust.Client(req.Subject.Client)
	if end, ok := s.holds(&req.Subject, a.now); ok {
		a.end = end
		common = situation{session: true, roles: joinRoles(a.roles), action: a.action, implicit: s.trust.Implicit}
	}
	if common.session && registered && s.trust.mayState(&client, a.roles, a.purpose) {
		common.stated, common.purpose = true, a.purpose // others are not remembered
	}
	granted, limit := e.scopes(req.Scopes), s.scopes[req.Subject.Client]
	var seen found
	for i := range rs {
		r := &rs[i]
		if i == 0 || r.Patient != rs[i-1].Patient {
			seen = s.find(a, r.Patient)
		}
		all[i] = seen.on(r, e.terms)
		one := &situations[i]
		if *one = common; !common.session {
			continue // the rules ask no further
		}
		one.fill(&all[i])
		one.typ, one.hidden = r.Type, hides(r)
		if e.terms.rank(r.Conf) >= 0 {
			one.conf = r.Conf
		}
		one.scope = within(granted, req, r) && within(limit, req, r)
		one.register = registered && client.Kind == ClientSystem && slices.Contains(client.Actions, a.action) &&
			(slices.Contains(client.Types, "*") || slices.Contains(client.Types, r.Type))
	}
}

// mayState tells whether a session of the client and roles may state a purpose.
func (t *Trust) mayState(c *Client, roles []string, purpose string) bool {
	if !slices.Contains(c.Purposes, purpose) {
		return false
	}
	return c.Kind == ClientSystem || slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(terms().RolePurposes[r], purpose) })
}

// within tells whether scopes allow the action on the record: system scopes for
// systems, user scopes for people, patient scopes on the patient in context
// alone, which for patients is themselves.
func within(s Scopes, req *Request, r *Resource) bool {
	letter := interaction(req.Action)
	if isRef(req.Subject.ID, "Client") {
		return s.Covers(r, letter, ScopeSystem)
	}
	context := req.Context
	if context == "" && isRef(req.Subject.ID, "Patient") {
		context = req.Subject.ID
	}
	return s.Covers(r, letter, ScopeUser) || (context != "" && context == r.Patient && s.Covers(r, letter, ScopePatient))
}

// scopes parses, and remembers, the scopes of a session. What does not parse
// allows nothing.
func (e *Engine) scopes(list []string) Scopes {
	if len(list) == 0 {
		return Scopes{}
	}
	b, err := json.Marshal(list) // always the list: one scope may look like the JSON of several
	if err != nil {
		return Scopes{}
	}
	key := string(b)
	e.mu.RLock()
	s, ok := e.parsed[key]
	e.mu.RUnlock()
	if ok {
		return s
	}
	s, err = ParseScopes(list)
	if err != nil {
		return Scopes{}
	}
	if len(key) > 1024 {
		return s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.parsed) >= remembered/16 {
		clear(e.parsed)
	}
	e.parsed[key] = s
	return s
}

// verdict is what the rules say of a situation.
type verdict struct {
	permit bool
	reason Reason
	rule   string
	uses   []string
}

var failed = verdict{reason: Failed, rule: "engine"}

// verdicts answers for each situation: from memory, or by one evaluation of all
// those that are new.
func (e *Engine) verdicts(ctx context.Context, situations []situation) []verdict {
	out := make([]verdict, len(situations))
	var fresh []situation
	e.mu.RLock()
	for i, s := range situations {
		v, ok := e.known[s]
		if out[i] = v; !ok && !slices.Contains(fresh, s) {
			fresh = append(fresh, s)
		}
	}
	e.mu.RUnlock()
	if fresh == nil {
		return out
	}
	answers := e.remember(fresh, e.evaluate(ctx, fresh))
	for i, s := range situations {
		if out[i].rule == "" {
			out[i] = answers[slices.Index(fresh, s)]
		}
	}
	return out
}

// remember keeps what the rules said; failures are not remembered.
func (e *Engine) remember(situations []situation, answers []verdict) []verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known)+len(situations) > remembered {
		clear(e.known)
	}
	for i, s := range situations {
		if answers[i].reason != Failed {
			e.known[s] = answers[i]
		}
	}
	return answers
}

// evaluate asks the rules. The situations are of one request and differ in
// their record alone.
func (e *Engine) evaluate(ctx context.Context, situations []situation) []verdict {
	out := make([]verdict, len(situations))
	for i := range out {
		out[i] = failed
	}
	if ctx.Err() != nil { // OPA looks at it only now and then
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	rs, err := e.query.Eval(ctx, rego.EvalParsedInput(e.input.document(situations)))
	if err != nil || len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return out
	}
	list, ok := rs[0].Expressions[0].Value.([]any)
	if !ok || len(list) != len(situations) {
		return out
	}
	for i, v := range list {
		if read, err := readVerdict(v); err == nil {
			out[i] = read
		}
	}
	return out
}

// readVerdict wants every part that a verdict of its kind has, and a reason
// from the list.
func readVerdict(v any) (verdict, error) {
	m := object(v)
	permit, _ := m["permit"].(bool)
	reason, _ := m["reason"].(string)
	rule, _ := m["rule"].(string)
	_, uses := m["uses"]
	switch {
	case rule == "" || !slices.Contains(Reasons(), Reason(reason)):
		return verdict{}, errors.New("no rule or no known reason")
	case permit != uses || permit != Reason(reason).Permits():
		return verdict{}, errors.New("a permit says what it rests on, and a denial does not")
	}
	return verdict{permit: permit, reason: Reason(reason), rule: rule, uses: texts(m["uses"])}, nil
}

// Permits tells reasons of permits from those of denials.
func (r Reason) Permits() bool {
	return r == Permitted || r == PermittedOwn || r == PermittedBreakGlass
}

// decision adds to a verdict what it rests on, until when it holds, and what it
// obliges to.
func (v verdict) decision(a *asked, f *facts) Decision {
	d := Decision{Permit: v.permit, Reason: v.reason, Rule: v.rule}
	if !v.permit {
		if r := f.because(v.reason); r != nil {
			d.Grants = []string{r.grant.ID}
		}
		return d
	}
	used, relation, ok := f.basis(v.uses)
	if !ok {
		return Decision{Reason: Failed, Rule: v.rule}
	}
	d.limit(f.changes)
	d.limit(relation.until)
	d.Relation = relation.id
	for _, r := range used {
		d.rest(a, r)
	}
	slices.Sort(d.Grants)
	d.Grants = slices.Compact(d.Grants)
	slices.Sort(d.Obligations.Redact)
	d.Obligations.Redact = slices.Compact(d.Obligations.Redact)
	return d
}

// basis finds the statements and the relation that a verdict rests on, and the
// statements whose obligations come with them. A verdict that rests on what is
// not there, or on nothing that is known, is a fault of the rules.
func (f *facts) basis(uses []string) (used []*record, relation held, ok bool) {
	used = slices.Clone(f.bound)
	for _, use := range uses {
		var r *record
		switch use {
		case "implicit":
			continue
		case "grant":
			r = f.grant
		case "consent":
			r = f.consent
		default:
			i := slices.Index(relNames[:], use)
			if i < 0 || f.related[i].until == 0 {
				return nil, held{}, false
			}
			relation = f.related[i]
			continue
		}
		if r == nil {
			return nil, held{}, false
		}
		used = append(used, r)
	}
	return used, relation, true
}

// rest makes the decision rest on a statement: it ends with it at the latest,
// and with its treatment for all but the doctor.
func (d *Decision) rest(a *asked, r *record) {
	p := r.provision
	d.Grants = append(d.Grants, p.id)
	d.limit(p.exp)
	if p.doctor != a.id {
		d.limit(p.treatUntil)
	}
	d.Obligations.Redact = append(d.Obligations.Redact, p.obligations.Redact...)
	d.Obligations.Alert = d.Obligations.Alert || p.obligations.Alert
	d.Obligations.NoRedisclose = d.Obligations.NoRedisclose || p.obligations.NoRedisclose
}

// limit lets the decision end at ms at the latest; 0 is no limit.
func (d *Decision) limit(ms int64) {
	if end := time.UnixMilli(ms).UTC(); ms != 0 && (d.Expires.IsZero() || end.Before(d.Expires)) {
		d.Expires = end
	}
}

// because is the statement that a denial rests on.
func (f *facts) because(reason Reason) *record {
	for i, name := range [...]Reason{denyLegal: LegalDeny, denyOrg: OrgDeny, denyVague: NotUnderstood, denyHard: HardDeny, denyConsent: ConsentDeny} {
		if name == reason {
			return f.denied[i]
		}
	}
	if i := slices.Index(missNames[:], string(reason)); i > 0 {
		return f.missed[i]
	}
	return nil
}
