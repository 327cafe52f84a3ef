package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records/index"
)

// notice is in every search answer, whatever it found: that something is
// withheld must not be told by saying so.
const notice = "Consent and policy may limit what is shown here. To ask for more: POST /api/grants/preview as the patient; when a life depends on it: POST $break-glass."

// sought is a search on its way.
type sought struct {
	query fhir.Query
	after *position // where the page begins; nil at the first
	count int
}

// considered is what a search looks at.
type considered struct {
	rows    []*candidate // to be decided on
	named   []string     // patients that the search names and the index knows
	denials []*group     // one for each name of which nothing can be shown, whether it is there or not
	byName  bool         // rows are what ids in the search name, one each
	aimed   bool         // the search names patients
}

// search answers a search on one type. Candidates come from the index, the page
// from policy and attributes; what is opened is what is on the page, and the
// exact answer is [fhir.Match]'s on what was opened.
func (g *Gateway) search(ctx context.Context, k *call) (answer, error) {
	mode, served := g.c.Modes[k.typ]
	if !served {
		return answer{}, refuse(notServed, nil)
	}
	if form := k.body; form != nil {
		if err := k.addForm(form); err != nil {
			return answer{}, err
		}
	}
	if mode == Observe {
		return g.observeSearch(ctx, k)
	}
	s, err := g.parseSearch(k)
	if err != nil {
		return answer{}, err
	}
	if k.typ == "Patient" && isLookup(s.query) {
		return g.lookup(ctx, k, s)
	}
	found, err := g.candidates(ctx, k, s)
	if err != nil {
		return answer{}, err
	}
	page, groups, more := g.choose(ctx, k, s, found)
	opened, err := g.disclose(ctx, k, groups, true)
	if err != nil {
		return answer{}, err
	}
	var shown []*candidate
	for _, c := range page {
		r := opened[c]
		if r == nil {
			continue // the custodians refused what policy permitted here
		}
		matches, err := fhir.Match(s.query, r)
		if err != nil {
			return answer{}, refuse(internal, err)
		}
		if matches {
			shown = append(shown, c)
		}
	}
	return g.searchset(k, s, shown, opened, groups, page, more)
}

// addForm joins the form of a POST _search to what is in the URL; one is not an
// override of the other (FHIR R4 §3.1.1.1).
func (k *call) addForm(form []byte) error {
	values, err := parseQuery(string(form))
	if err != nil {
		return err
	}
	if format, stated := values["_format"]; stated && !acceptable(nil, map[string][]string{"_format": format}) {
		return refuse(badAccept, nil)
	}
	delete(values, "_format")
	for name, all := range values {
		k.query[name] = append(k.query[name], all...)
	}
	return nil
}

// parseSearch refuses everything that the sealed attributes do not answer.
func (g *Gateway) parseSearch(k *call) (sought, error) {
	s := sought{}
	var err error
	if s.count, err = g.count(k.query); err != nil {
		return s, err
	}
	if s.after, err = g.page(k); err != nil {
		return s, err
	}
	if s.query, err = fhir.ParseQuery(k.typ, k.query, fhir.QueryOptions{
		Base: g.c.Base, Now: k.now, Ignore: []string{"_count", paramPage},
	}); err != nil {
		return s, err
	}
	if len(s.query.Sort) > 0 {
		return s, unknownParameter("_sort") // the order is fixed: newest first, then by id
	}
	for _, t := range s.query.Terms {
		name := lo.Ternary(t.Modifier == "", t.Param.Name, t.Param.Name+":"+t.Modifier)
		if k.typ == "Patient" && lookupParam(t.Param.Name) {
			continue
		}
		// Attributes hold more values than a parameter has, here and there; only
		// what is there can be told from them, not what is not.
		if negated := t.Modifier == "not" || t.Modifier == "missing"; negated || answers(k.typ, t.Param.Name) == fieldNone {
			return s, unknownParameter(name)
		}
	}
	return s, nil
}

// maxNames bounds how many ids or patients one search may name: each of them
// leaves an entry in the log.
const maxNames = 200

// candidates are the rows that the search could mean. A search that names
// patients looks at theirs, one that names ids at those, any other at the
// patients about whom the caller could have a permit at all. A name that leads
// to nothing is a denial like one that leads to something hidden, so that
// neither the log's length nor the header that follows it tells them apart.
func (g *Gateway) candidates(ctx context.Context, k *call, s sought) (considered, error) {
	named, names := namedPatients(s.query)
	ids, hasIDs := namedIDs(s.query)
	if len(named) > maxNames || len(ids) > maxNames {
		return considered{}, refuse(tooCostly, nil)
	}
	may := g.concerned(k)
	f := considered{aimed: names, byName: hasIDs && !names || k.typ == "Patient" && names}
	var rows []index.Row
	var err error
	switch {
	case names:
		var near []string
		if f.named, near, err = g.split(ctx, named, may, &f); err != nil {
			return f, err
		}
		if !f.byName {
			rows, err = g.rowsOf(ctx, k.typ, near)
			break
		}
		rows, err = g.rowsByID(ctx, k.typ, lo.Map(near, func(p string, _ int) string { return p[len("Patient/"):] }))
	case hasIDs:
		rows, err = g.rowsNamed(ctx, k, lo.Uniq(ids), may, &f)
	default:
		rows, err = g.rowsOf(ctx, k.typ, g.c.State.Patients(k.session.Subject, k.now))
	}
	if err != nil {
		return f, err
	}
	for _, gr := range f.denials {
		g.metrics.decision(policy.Decision{Reason: gr.reason})
	}
	for _, row := range rows {
		c, err := g.candidateOf(row)
		if err != nil {
			return f, err
		}
		// What a lost record's attributes would have been is not known for sure; that
		// it is lost is said to whoever might have read it.
		if f.byName || lost(row) || attributesMatch(s.query, c.attributes) {
			f.rows = append(f.rows, c)
		}
	}
	return f, nil
}

// concerned tells about whom the caller could have a permit at all. About
// anybody else no record need be looked at to deny it, and so the answer takes
// as long for a patient with many records as for one who does not exist.
func (g *Gateway) concerned(k *call) func(patient string) bool {
	implicit := g.c.State.Trust().Implicit
	if implicit != "" && implicit != policy.ImplicitDeny || len(g.c.State.Grants("")) > 0 {
		return func(string) bool { return true }
	}
	about := lo.Keyify(g.c.State.Patients(k.session.Subject, k.now))
	return func(patient string) bool { return lo.HasKey(about, patient) }
}

// split tells the named patients that the index knows from those it does not,
// which are denied under the tenant, for an id that somebody made up draws no
// log key; and of those it knows, the near ones about whom there could be a
// permit from the rest, who are denied under themselves.
func (g *Gateway) split(ctx context.Context, named []string, may func(string) bool, f *considered) (known, near []string, err error) {
	there, err := g.existing(ctx, named)
	if err != nil {
		return nil, nil, err
	}
	exists := lo.Keyify(there)
	for _, p := range named {
		switch {
		case !lo.HasKey(exists, p):
			f.denials = append(f.denials, g.denied("", policy.NoGrant))
		case !may(p):
			f.denials = append(f.denials, g.denied(p, policy.NoGrant))
		default:
			known, near = append(known, p), append(near, p)
		}
	}
	return known, near, nil
}

// rowsNamed are the rows of ids, as far as they could be permitted; the other
// ids are denied one by one.
func (g *Gateway) rowsNamed(ctx context.Context, k *call, ids []string, may func(string) bool, f *considered) ([]index.Row, error) {
	var rows []index.Row
	for _, id := range ids {
		row, found, err := g.current(ctx, k.typ, id)
		switch {
		case err != nil:
			return nil, err
		case !found:
			f.denials = append(f.denials, g.denied("", policy.NoGrant))
		case row.Deleted || !may(row.Patient):
			f.denials = append(f.denials, g.denied(row.Patient, policy.NoGrant))
		default:
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// denied is the entry of a name of which nothing is shown. It says how many and
// not which: the names of what does not exist are nobody's to keep.
func (g *Gateway) denied(patient string, reason policy.Reason) *group {
	return &group{patient: patient, action: policy.Search, policy: g.c.Engine.Digest(), denied: 1, reason: reason}
}

func (g *Gateway) rowsOf(ctx context.Context, typ string, patients []string) ([]index.Row, error) {
	var rows []index.Row
	for _, p := range patients {
		more, err := g.c.Index.ByPatient(ctx, p, typ)
		if err != nil {
			return nil, refuse(upstreamDown, fmt.Errorf("index: %w", err))
		}
		if rows = append(rows, more...); len(rows) > g.c.Limits.Candidates {
			return nil, refuse(tooCostly, nil)
		}
	}
	return rows, nil
}

func (g *Gateway) rowsByID(ctx context.Context, typ string, ids []string) ([]index.Row, error) {
	var rows []index.Row
	for _, id := range lo.Uniq(ids) {
		row, found, err := g.current(ctx, typ, id)
		if err != nil {
			return nil, err
		}
		if found && !row.Deleted {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// existing are those patients that the index knows: for an id that somebody made
// up no log key is drawn, and its entry is the tenant's.
func (g *Gateway) existing(ctx context.Context, patients []string) ([]string, error) {
	var out []string
	for _, p := range patients {
		_, found, err := g.current(ctx, "Patient", p[len("Patient/"):])
		if err != nil {
			return nil, err
		}
		if found {
			out = append(out, p)
		}
	}
	return out, nil
}

// choose decides, sorts and pages. The groups are what goes into the log: one
// for each patient of whom something is on the page; with the first page, one
// for each name in the search of which nothing is; one of the tenant where there
// is none of these. So their number follows from what was asked and what is
// shown, and from nothing that is hidden.
func (g *Gateway) choose(ctx context.Context, k *call, s sought, f considered) (page []*candidate, groups []*group, more bool) {
	decisions := g.c.Engine.DecideAll(ctx, g.c.State, k.request(policy.Search, policy.Resource{Type: k.typ}),
		lo.Map(f.rows, func(c *candidate, _ int) policy.Resource { return c.attributes }), k.now)
	byPatient := map[string]*group{}
	groupOf := func(patient string) *group {
		if byPatient[patient] == nil {
			byPatient[patient] = &group{patient: patient, action: policy.Search, policy: g.c.Engine.Digest()}
			groups = append(groups, byPatient[patient])
		}
		return byPatient[patient]
	}
	var visible, hidden []*candidate
	for i, c := range f.rows {
		c.decision = decisions[i]
		g.metrics.decision(c.decision)
		switch {
		case !c.decision.Permit:
			hidden = append(hidden, c)
		case !f.byName || lost(c.row) || attributesMatch(s.query, c.attributes):
			visible = append(visible, c)
		}
	}
	slices.SortFunc(visible, newestFirst)
	if s.after != nil {
		visible = lo.Filter(visible, func(c *candidate, _ int) bool { return s.after.before(c) })
	}
	page = visible
	if len(page) > s.count {
		page, more = page[:s.count], true
	}
	for _, c := range page {
		gr := groupOf(c.row.Patient)
		gr.items = append(gr.items, c)
	}
	if s.after == nil { // what is hidden is counted once, with the first page
		groups = append(groups, f.denials...)
		if f.aimed {
			for _, p := range f.named {
				groupOf(p)
			}
		}
		for _, c := range hidden {
			switch {
			case f.byName && !f.aimed:
				groups = append(groups, g.denied(c.row.Patient, c.decision.Reason))
			case f.aimed || byPatient[c.row.Patient] != nil:
				gr := groupOf(c.row.Patient)
				gr.denied++
				gr.reason = c.decision.Reason
			}
		}
	}
	if len(groups) == 0 {
		gr := groupOf("")
		if s.after == nil && len(hidden) > 0 { // of patients whom nobody named, nothing of whom is shown
			gr.denied, gr.reason = uint64(len(hidden)), hidden[0].decision.Reason
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.patient, b.patient) })
	return page, byReason(groups), more
}

// newestFirst is the order of every search answer: by clinical time, latest
// first, what has none last; then by id.
func newestFirst(a, b *candidate) int {
	return cmp.Or(cmp.Compare(b.attributes.From, a.attributes.From), cmp.Compare(a.row.ID, b.row.ID))
}

// before tells whether the candidate comes after the position.
func (p *position) before(c *candidate) bool {
	return cmp.Or(cmp.Compare(p.Sort, c.attributes.From), cmp.Compare(c.row.ID, p.ID)) > 0
}

// searchset makes the bundle and the follow-up entries.
func (g *Gateway) searchset(k *call, s sought, shown []*candidate, opened map[*candidate]*fhir.Resource, groups []*group, page []*candidate, more bool) (answer, error) {
	b := fhir.Bundle{
		Type: "searchset", Timestamp: k.now,
		Security: water(lo.Map(shown, func(c *candidate, _ int) policy.Resource { return c.attributes })),
		Links:    []fhir.Link{{Relation: "self", URL: g.link(k.typ, k.query)}},
	}
	if more {
		last := page[len(page)-1]
		next, err := g.nextLink(k, k.typ, position{Sort: last.attributes.From, Type: last.row.Type, ID: last.row.ID})
		if err != nil {
			return answer{}, err
		}
		b.Links = append(b.Links, fhir.Link{Relation: "next", URL: next})
	} else if s.after == nil {
		b.Total = new(len(shown))
	}
	for _, c := range shown {
		b.Entries = append(b.Entries, fhir.BundleEntry{
			FullURL: g.c.Base + "/" + c.row.Type + "/" + c.row.ID, Resource: opened[c], SearchMode: "match",
		})
	}
	b.Entries = append(b.Entries, noticeEntry())
	resource, err := b.Resource()
	if err != nil {
		return answer{}, refuse(internal, err)
	}
	given := lo.Keyify(shown)
	return answer{
		status: http.StatusOK, resource: resource,
		returned: g.returnedOf(k, groups, func(c *candidate) bool { return lo.HasKey(given, c) }),
	}, nil
}

func noticeEntry() fhir.BundleEntry {
	return fhir.BundleEntry{SearchMode: "outcome", Resource: fhir.Outcome(fhir.Issue{
		Severity: "information", Code: "suppressed", Details: notice,
	})}
}

// namedPatients are the patients that the search names, and whether it names
// any.
func namedPatients(q fhir.Query) (patients []string, named bool) {
	for _, t := range q.Terms {
		if t.Modifier == "missing" {
			continue
		}
		patient := t.Param.Name == "patient" || t.Param.Name == "subject"
		if self := q.Type == "Patient" && t.Param.Name == "_id"; !patient && !self {
			continue
		}
		named = true
		for _, v := range t.Values {
			id := lo.Ternary(patient, v.Ref.ID, v.Coding.Code)
			if fhir.ValidID(id) && (v.Ref.Type == "" || v.Ref.Type == "Patient") {
				patients = append(patients, "Patient/"+id)
			}
		}
	}
	return lo.Uniq(patients), named
}

// namedIDs are the ids that _id lists.
func namedIDs(q fhir.Query) (ids []string, named bool) {
	for _, t := range q.Term("_id") {
		if t.Modifier != "" {
			continue
		}
		named = true
		for _, v := range t.Values {
			if fhir.ValidID(v.Coding.Code) {
				ids = append(ids, v.Coding.Code)
			}
		}
	}
	return ids, named
}

// A field is an attribute that answers a search parameter.
type field int

const (
	fieldNone field = iota
	fieldID
	fieldUpdated
	fieldLabels
	fieldPatient
	fieldEncounter
	fieldCodes
	fieldCategories
	fieldTime
)

// answers tells which attribute answers a parameter of a sealed type. It follows
// policy.Describe: a parameter is here if its values are all among the
// attribute's, so that nothing that matches is passed over; what is let through
// too many, the opened records settle.
func answers(typ, param string) field {
	if _, exists := fhir.LookupParam(typ, param); !exists {
		return fieldNone
	}
	switch param {
	case "_id":
		return fieldID
	case "_lastUpdated":
		return fieldUpdated
	case "_security":
		return fieldLabels
	case "patient", "subject":
		return fieldPatient
	}
	switch typ + "." + param {
	case "CarePlan.activity-code", "Device.type", "DocumentReference.type", "Encounter.type", "ImagingStudy.modality",
		"Immunization.vaccine-code", "Specimen.type":
		return fieldCodes
	case "Encounter.class", "MedicationDispense.type":
		return fieldCategories
	case "Condition.onset-date", "ImagingStudy.started", "MedicationAdministration.effective-time", "MedicationDispense.whenhandedover",
		"MedicationRequest.authoredon", "MedicationStatement.effective", "QuestionnaireResponse.authored", "ServiceRequest.occurrence",
		"Specimen.collected", "Task.authored-on":
		return fieldTime
	case "DocumentReference.encounter", "MedicationRequest.date":
		return fieldNone // several encounters are none to an attribute; the other is a dosage's
	}
	switch param {
	case "code":
		return fieldCodes
	case "category":
		return fieldCategories
	case "date":
		return fieldTime
	case "encounter":
		return fieldEncounter
	}
	return fieldNone
}

// values is what an attribute has to offer: the same values as the record
// itself, so that the same evaluator decides on both.
func (f field) values(a policy.Resource) []fhir.Value {
	switch f {
	case fieldID:
		return tokens("|" + a.ID)
	case fieldUpdated:
		at := time.UnixMilli(a.Updated).UTC()
		return []fhir.Value{{Kind: fhir.TypeDate, Period: fhir.Period{From: at, To: at.Add(time.Millisecond)}}}
	case fieldLabels:
		return tokens(append([]string{policy.Coding(policy.SystemConfidentiality, a.Conf)}, a.Sens...)...)
	case fieldPatient:
		return references(a.Patient)
	case fieldEncounter:
		return references(a.Encounter)
	case fieldCodes:
		return tokens(a.Codes...)
	case fieldCategories:
		return tokens(a.Categories...)
	case fieldTime:
		if a.From != 0 || a.To != 0 {
			return []fhir.Value{{Kind: fhir.TypeDate, Period: period(a.From, a.To)}}
		}
	}
	return nil
}

func period(from, to int64) (p fhir.Period) {
	if from != 0 {
		p.From = time.UnixMilli(from).UTC()
	}
	if to != 0 {
		p.To = time.UnixMilli(to).UTC()
	}
	return p
}

func tokens(codings ...string) []fhir.Value {
	return lo.Map(codings, func(c string, _ int) fhir.Value {
		return fhir.Value{Kind: fhir.TypeToken, Coding: fhir.ParseCoding(c), Implied: c[0] == '|'}
	})
}

func references(refs ...string) []fhir.Value {
	return lo.FilterMap(refs, func(s string, _ int) (fhir.Value, bool) {
		ref, err := fhir.ParseRef(s, "")
		return fhir.Value{Kind: fhir.TypeReference, Ref: ref}, err == nil
	})
}

// attributesMatch is the search on attributes alone. Terms that attributes do
// not answer were refused before, but for those of a look-up.
func attributesMatch(q fhir.Query, a policy.Resource) bool {
	return lo.EveryBy(q.Terms, func(t fhir.Term) bool {
		f := answers(q.Type, t.Param.Name)
		return f == fieldNone || t.MatchValues(f.values(a))
	})
}
