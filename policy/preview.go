package policy

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a zone's name must mean the same on every machine

	"github.com/samber/lo"
)

// GrantRequest is what a patient asks for, in the words of an app. Codes may be
// short ("TREAT", "Observation", "vital-signs", "MH") or "system|code".
type GrantRequest struct {
	Patient            string       `json:"patient"`                      // "Patient/p1"
	Effect             string       `json:"effect,omitempty"`             // permit if empty, or deny
	Actors             []GrantActor `json:"actors,omitempty"`             // who; a permit must say
	Actions            []string     `json:"actions,omitempty"`            // read, search, history; all three if absent
	Classes            []string     `json:"classes,omitempty"`            // resource types
	Categories         []string     `json:"categories,omitempty"`         // short: observation categories
	Codes              []string     `json:"codes,omitempty"`              // "system|code"
	Purposes           []string     `json:"purposes,omitempty"`           // what for; a permit must say
	Labels             []string     `json:"labels,omitempty"`             // permit: sensitivities included; deny: sensitivities meant
	MaxConfidentiality string       `json:"maxConfidentiality,omitempty"` // permit: the ceiling; N if absent, R if absent and labels are given
	MinConfidentiality string       `json:"minConfidentiality,omitempty"` // deny: the floor
	Data               []Data       `json:"data,omitempty"`               // particular records
	DataFrom           string       `json:"dataFrom,omitempty"`           // clinical time of the records, RFC 3339
	DataUntil          string       `json:"dataUntil,omitempty"`
	From               string       `json:"from,omitempty"`      // RFC 3339; now if absent
	Until              string       `json:"until,omitempty"`     // RFC 3339; a permit must end
	Zone               string       `json:"zone,omitempty"`      // "Asia/Shanghai": the zone to show; else that of the times
	Treatment          *GrantCare   `json:"treatment,omitempty"` // permit: the treatment it is for
	Hard               bool         `json:"hard,omitempty"`      // deny: not even an emergency overrides it
	Replaces           []string     `json:"replaces,omitempty"`  // ids of statements to remove
	Redact             []string     `json:"redact,omitempty"`    // elements to leave out
	Alert              bool         `json:"alert,omitempty"`     // tell the patient of every use
	NoRedisclose       bool         `json:"noRedisclose,omitempty"`
}

// GrantCare is a treatment and its doctor.
type GrantCare struct {
	Until  string `json:"until"`  // RFC 3339
	Doctor string `json:"doctor"` // "Practitioner/7"
}

// GrantActor is one actor; in JSON "Practitioner/7", "role:nurse", "nurse", or
// {"role": …, "ref": …}.
type GrantActor struct{ Role, Ref string }

// UnmarshalJSON reads the string and the object form.
func (a *GrantActor) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*a = GrantActor{Role: strings.TrimPrefix(text, "role:")}
		if strings.Contains(text, "/") && !strings.Contains(text, "|") {
			*a = GrantActor{Ref: text}
		}
		return nil
	}
	var object struct {
		Role string `json:"role,omitempty"`
		Ref  string `json:"ref,omitempty"`
	}
	if err := decodeOnce(data, &object); err != nil {
		return fmt.Errorf("actor: %w", err)
	}
	*a = GrantActor(object)
	return nil
}

// MarshalJSON writes the shortest form.
func (a GrantActor) MarshalJSON() ([]byte, error) {
	switch {
	case a.Role == "":
		return json.Marshal(a.Ref)
	case a.Ref == "":
		return json.Marshal(a.Role)
	}
	return json.Marshal(map[string]string{"role": a.Role, "ref": a.Ref})
}

// ParseGrantRequest reads JSON strictly: unknown and repeated fields, and lists
// that are null or empty, are refused.
func ParseGrantRequest(data []byte) (GrantRequest, error) {
	var r GrantRequest
	if len(data) > maxStatement {
		return r, fmt.Errorf("%d bytes, at most %d", len(data), maxStatement)
	}
	document, err := tree(data)
	if err != nil {
		return r, err
	}
	fields, ok := document.(map[string]any)
	if !ok {
		return r, errors.New("want an object")
	}
	for name, v := range fields {
		if list, isList := v.([]any); v == nil || (isList && len(list) == 0) {
			return r, fmt.Errorf("%s: leave out what is not stated", clip(name))
		}
		if !slices.Contains(requestFields, name) {
			return r, fmt.Errorf("%s: unknown field", clip(name))
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return GrantRequest{}, err
	}
	if d.More() {
		return GrantRequest{}, errors.New("more than one document")
	}
	return r, nil
}

// requestFields are the names of GrantRequest, in their one spelling.
var requestFields = []string{
	"patient", "effect", "actors", "actions", "classes", "categories", "codes", "purposes", "labels", "maxConfidentiality",
	"minConfidentiality", "data", "dataFrom", "dataUntil", "from", "until", "zone", "treatment", "hard", "replaces", "redact",
	"alert", "noRedisclose",
}

// Preview makes the grant that a patient would sign, with a random id. It is
// strict where an app or a person can still correct something: codes must be
// understood, a permit must name actors, purposes and its end.
func Preview(p GrantRequest, now time.Time) (Grant, error) {
	g, err := preview(p, now, "g-"+encode64(random(12)))
	if err != nil {
		return Grant{}, err
	}
	if err := g.Validate(); err != nil {
		return Grant{}, err
	}
	if c := compile(g, terms()); c.never || c.everything {
		return Grant{}, errors.New("it says something that is not understood")
	}
	return g, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func preview(p GrantRequest, now time.Time, id string) (Grant, error) {
	g := Grant{V: 1, ID: id, Patient: p.Patient, Effect: p.Effect, Layer: LayerGrant, Status: StatusActive, Hard: p.Hard, Replaces: p.Replaces, Data: p.Data}
	switch p.Effect {
	case "":
		g.Effect = EffectPermit
	case EffectDeny:
		g.Layer = LayerConsent
	case EffectPermit:
	default:
		return Grant{}, fmt.Errorf("effect %q: want permit or deny", clip(p.Effect))
	}
	if g.Effect == EffectPermit {
		if p.Until == "" || p.Actors == nil || p.Purposes == nil {
			return Grant{}, errors.New("a permit must say for whom (actors), what for (purposes) and until when")
		}
		if p.Hard || p.MinConfidentiality != "" {
			return Grant{}, errors.New("hard and minConfidentiality are for denies")
		}
	} else if p.Treatment != nil || p.MaxConfidentiality != "" || p.Redact != nil || p.Alert || p.NoRedisclose {
		return Grant{}, errors.New("treatment, maxConfidentiality, redact, alert and noRedisclose are for permits")
	}
	for _, step := range []func(*Grant, GrantRequest, time.Time) error{previewTimes, previewCodes, previewActors, previewLabels} {
		if err := step(&g, p, now); err != nil {
			return Grant{}, err
		}
	}
	if p.Redact != nil || p.Alert || p.NoRedisclose {
		g.Obligations = &Obligations{Redact: p.Redact, Alert: p.Alert, NoRedisclose: p.NoRedisclose}
	}
	return g, nil
}

// previewTimes reads times. A begin is rounded up and an end down to the
// millisecond: never more than was asked for.
func previewTimes(g *Grant, p GrantRequest, now time.Time) error {
	var zone *time.Location
	if p.Zone != "" {
		var err error
		if zone, err = time.LoadLocation(p.Zone); err != nil || p.Zone == "Local" {
			return fmt.Errorf("zone %q is not known", clip(p.Zone))
		}
		g.Time.Zone = p.Zone
	}
	read := func(name, text string, up bool) (ms int64, offset int, err error) {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return 0, 0, fmt.Errorf("%s %q: want RFC 3339, 2006-01-02T15:04:05+08:00", name, clip(text))
		}
		if zone != nil {
			t = t.In(zone)
		}
		ms = t.UnixMilli()
		if up && t.Nanosecond()%1e6 != 0 {
			ms++
		}
		_, seconds := t.Zone()
		return ms, seconds / 60, nil
	}
	from := p.From
	if from == "" && g.Effect == EffectPermit { // a deny may hold since ever
		from = now.UTC().Format(time.RFC3339Nano)
		if t, err := time.Parse(time.RFC3339, p.Until); err == nil {
			from = now.In(t.Location()).Format(time.RFC3339Nano)
		}
	}
	var err error
	var span Span
	var care Treatment
	for _, f := range []struct {
		name, text string
		up         bool
		ms         *int64
		offset     *int
	}{
		{"from", from, p.From != "", &g.Time.Nbf, &g.Time.NbfOffset},
		{"until", p.Until, false, &g.Time.Exp, &g.Time.ExpOffset},
		{"dataFrom", p.DataFrom, true, &span.From, &span.FromOffset},
		{"dataUntil", p.DataUntil, false, &span.To, &span.ToOffset},
		{"treatment.until", lo.FromPtr(p.Treatment).Until, false, &care.Until, &care.Offset},
	} {
		if f.text == "" {
			continue
		}
		if *f.ms, *f.offset, err = read(f.name, f.text, f.up); err != nil {
			return err
		}
		if *f.ms == 0 { // which is "none"
			return fmt.Errorf("%s: the epoch itself cannot be told from no time", f.name)
		}
	}
	if g.Time.Exp != 0 && (g.Time.Exp <= g.Time.Nbf || g.Time.Exp <= now.UnixMilli()) {
		return errors.New("it would end before it begins, or has ended")
	}
	if span != (Span{}) {
		if span.To != 0 && span.To <= span.From {
			return errors.New("dataUntil is not after dataFrom")
		}
		g.DataTime = &span
	}
	if p.Treatment != nil {
		care.Doctor = p.Treatment.Doctor
		g.Treatment = &care
	}
	return nil
}

// previewCodes writes codes in full.
func previewCodes(g *Grant, p GrantRequest, _ time.Time) error {
	t := terms()
	var err error
	full := func(name string, list []string, system string, knows func(string) bool) []string {
		return mapList(list, func(s string) string {
			if !strings.Contains(s, "|") && system != "" {
				s = Coding(system, s)
			}
			if !knows(s) {
				err = errors.Join(err, fmt.Errorf("%s: %q is not understood", name, clip(s)))
			}
			return s
		})
	}
	g.Actions = full("actions", p.Actions, "", func(a string) bool { return t.Actions[a] != "" })
	if p.Actions == nil {
		g.Actions = []string{Read, Search, History}
	}
	g.Purposes = full("purposes", p.Purposes, SystemPurpose, t.knowsPurpose)
	g.Classes = full("classes", p.Classes, SystemResourceType, t.knowsClass)
	g.Categories = full("categories", p.Categories, SystemObservationCategory, t.knowsCoding)
	g.Codes = full("codes", p.Codes, "", t.knowsCoding)
	for _, d := range p.Data {
		if !t.knowsData(d) {
			err = errors.Join(err, fmt.Errorf("data: %s %q is not understood", clip(d.Meaning), clip(d.Ref)))
		}
	}
	return err
}

func previewActors(g *Grant, p GrantRequest, _ time.Time) error {
	if p.Actors == nil {
		return nil
	}
	for _, a := range p.Actors {
		actor := Actor(a)
		if actor.Role = strings.TrimPrefix(actor.Role, "role:"); actor.Role != "" && !strings.Contains(actor.Role, "|") {
			actor.Role = Coding(SystemRole, actor.Role)
		}
		if actor == (Actor{}) || !terms().knowsActor(actor) {
			return fmt.Errorf("actors: %q is not understood", clip(strings.TrimSpace(a.Role+" "+a.Ref)))
		}
		g.Actors = append(g.Actors, actor)
	}
	return nil
}

func previewLabels(g *Grant, p GrantRequest, _ time.Time) error {
	t := terms()
	var l Labels
	for _, s := range p.Labels {
		if !strings.Contains(s, "|") {
			s = Coding(SystemSensitivity, s)
		}
		if !t.sensitivity(s) {
			return fmt.Errorf("labels: %q is not understood", clip(s))
		}
		l.Any = append(l.Any, s)
	}
	max, min := Code(p.MaxConfidentiality), Code(p.MinConfidentiality)
	for name, conf := range map[string]string{p.MaxConfidentiality: max, p.MinConfidentiality: min} {
		if name != "" && (t.rank(conf) < 0 || (name != conf && systemOf(name) != SystemConfidentiality)) {
			return fmt.Errorf("confidentiality %q is not understood", clip(name))
		}
	}
	if g.Effect == EffectPermit {
		l.Any, l.Cover = nil, l.Any
		l.MaxConf = lo.CoalesceOrEmpty(max, "N")
		if max == "" && l.Cover != nil { // a sensitivity makes R
			l.MaxConf = "R"
		}
		g.Labels = &l
		return nil
	}
	if l.MinConf = min; l.Any != nil || min != "" {
		g.Labels = &l
	}
	return nil
}

// mapList keeps an absent list absent.
func mapList(list []string, f func(string) string) []string {
	if list == nil {
		return nil
	}
	return lo.Map(list, func(s string, _ int) string { return f(s) })
}
