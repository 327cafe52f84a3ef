package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// Labelling is the rules that label records by what they say (HL7 DS4P). It is
// immutable.
type Labelling struct {
	byCode   map[string][]*labelRule
	profiles []profileRule
}

type profileRule struct {
	prefix string
	rule   *labelRule
}

// labelRule is one rule of a labelling file.
type labelRule struct {
	Name            string   `yaml:"name"`
	Sensitivities   []string `yaml:"sensitivities,omitempty"`   // v3-ActCode, short
	Confidentiality string   `yaml:"confidentiality,omitempty"` // v3-Confidentiality; R if there are sensitivities, unless this is more
	Codes           []string `yaml:"codes,omitempty"`           // "system|code", anywhere in the record
	Profiles        []string `yaml:"profiles,omitempty"`        // beginnings of meta.profile
}

// ParseLabelling reads rules from YAML, strictly. labels.yaml beside this file
// is the default set, and an example.
func ParseLabelling(data []byte) (*Labelling, error) {
	var file struct {
		Rules []*labelRule `yaml:"rules"`
	}
	if len(data) > maxTrust {
		return nil, fmt.Errorf("labelling: %d bytes, at most %d", len(data), maxTrust)
	}
	if err := yaml.UnmarshalWithOptions(data, &file, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("labelling: %w", err)
	}
	l := &Labelling{byCode: map[string][]*labelRule{}}
	for i, r := range file.Rules {
		if r == nil {
			return nil, fmt.Errorf("labelling: rule %d is empty", i+1)
		}
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("labelling: rule %d, %q: %w", i+1, r.Name, err)
		}
		for _, c := range r.Codes {
			l.byCode[c] = append(l.byCode[c], r)
		}
		for _, p := range r.Profiles {
			l.profiles = append(l.profiles, profileRule{p, r})
		}
	}
	return l, nil
}

func (r *labelRule) validate() error {
	t := terms()
	switch {
	case r.Name == "":
		return errors.New("no name")
	case len(r.Sensitivities) == 0 && r.Confidentiality == "":
		return errors.New("it labels nothing: want sensitivities or a confidentiality")
	case len(r.Codes) == 0 && len(r.Profiles) == 0:
		return errors.New("it applies to nothing: want codes or profiles")
	case r.Confidentiality != "" && t.rank(r.Confidentiality) < 0:
		return fmt.Errorf("confidentiality %q", r.Confidentiality)
	case slices.Contains(r.Profiles, ""):
		return errors.New("an empty profile")
	}
	for _, s := range r.Sensitivities {
		if !slices.Contains(t.Sensitivities, s) {
			return fmt.Errorf("sensitivity %q", s)
		}
	}
	for _, c := range r.Codes {
		if !t.knowsCoding(c) {
			return fmt.Errorf("code %q: want system|code", c)
		}
	}
	return nil
}

//go:embed labels.yaml
var defaultLabels []byte

var defaultLabelling = sync.OnceValue(func() *Labelling {
	l, err := ParseLabelling(defaultLabels)
	if err != nil {
		panic(err) // part of this binary
	}
	return l
})

// DefaultLabelling returns the rules of labels.yaml.
func DefaultLabelling() *Labelling { return defaultLabelling() }

// label is what is known of a record's labels so far. It only ever rises.
type label struct {
	rank int
	sens []string
}

func (l *label) raise(rank int) { l.rank = max(l.rank, rank) }

// sensitive adds a sensitivity, which makes the record restricted.
func (l *label) sensitive(coding string) {
	l.sens = append(l.sens, coding)
	l.raise(terms().rank("R"))
}

// label labels a resource: by the rules, and by its own meta.security.
func (l *Labelling) label(r *fhir.Resource) label {
	t := terms()
	out := label{rank: t.rank("N")}
	apply := func(rule *labelRule) {
		for _, s := range rule.Sensitivities {
			out.sensitive(Coding(SystemSensitivity, s))
		}
		if rule.Confidentiality != "" {
			out.raise(t.rank(rule.Confidentiality))
		}
	}
	tree := r.Tree()
	eachCoding(tree, func(coding string) {
		for _, rule := range l.byCode[coding] {
			apply(rule)
		}
	})
	eachProfile(tree, func(profile string) {
		for _, p := range l.profiles {
			if strings.HasPrefix(profile, p.prefix) {
				apply(p.rule)
			}
		}
	})
	eachSecurity(tree, out.own)
	slices.Sort(out.sens)
	out.sens = slices.Compact(out.sens)
	return out
}

// own takes a label that a record bears already. One that is not understood is
// taken for a sensitivity that no permit covers, or the highest confidentiality.
func (l *label) own(c fhir.Coding) {
	t := terms()
	switch {
	case c.System == SystemConfidentiality:
		if rank := t.rank(c.Code); rank >= 0 {
			l.raise(rank)
		} else {
			l.raise(len(t.Confidentiality) - 1)
		}
	case c.System == SystemObservationValue:
		// says how complete the record is, not how sensitive
	case c.System == SystemSensitivity && slices.Contains(part2, c.Code):
		l.sensitive(Coding(SystemSensitivity, "SUD"))
	case c.System == SystemSensitivity && slices.Contains(handling, c.Code):
		// says how to handle the record
	default:
		l.sensitive(c.String())
	}
}

// part2 are the policies that mark substance use records (42 CFR Part 2).
var part2 = []string{"42CFRPart2", "42CFRPart2CD"}

// handling are codes of v3-ActCode that oblige or forbid and say nothing of
// sensitivity.
var handling = []string{"NORDSCLCD", "NORDSCLW", "NODSCLCDS", "REDACT", "MASK", "CPLYCD", "DELAU", "PERSISTLABEL", "PRIVMARK", "NOAUTH", "NOREUSE"}

// eachCoding visits every coding in a tree, contained resources too, but for
// those of meta. LOINC's forms name their questions and themselves by link ids
// and canonicals, which are codings in another spelling.
func eachCoding(v any, visit func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"questionnaire", "linkId"} {
			if text, ok := v[name].(string); ok {
				if code, ok := loincOf(text); ok {
					visit(Coding("http://loinc.org", code))
				}
			}
		}
		if code, ok := v["code"].(string); ok {
			if system, ok := v["system"].(string); ok {
				visit(Coding(system, code))
			}
		}
		for name, child := range v {
			if name != "meta" {
				eachCoding(child, visit)
			}
		}
	case []any:
		for _, child := range v {
			eachCoding(child, visit)
		}
	}
}

// loincOf reads "http://loinc.org/q/44249-1", the canonical of a LOINC form, and
// "/44250-9" or "/44249-1/44250-9", the link ids of its questions.
func loincOf(s string) (string, bool) {
	form, canonical := strings.CutPrefix(s, "http://loinc.org/q/")
	if canonical {
		form, _, _ = strings.Cut(form, "|")
		return form, form != ""
	}
	if !strings.HasPrefix(s, "/") {
		return "", false
	}
	code := s[strings.LastIndexByte(s, '/')+1:]
	return code, code != ""
}

// eachMeta visits the meta of the resource and of those contained in it.
func eachMeta(tree map[string]any, visit func(meta map[string]any)) {
	if meta, ok := tree["meta"].(map[string]any); ok {
		visit(meta)
	}
	contained, _ := tree["contained"].([]any)
	for _, c := range contained {
		if inner, ok := c.(map[string]any); ok {
			eachMeta(inner, visit)
		}
	}
}

func eachProfile(tree map[string]any, visit func(string)) {
	eachMeta(tree, func(meta map[string]any) { lo.ForEach(texts(meta["profile"]), func(p string, _ int) { visit(p) }) })
}

func eachSecurity(tree map[string]any, visit func(fhir.Coding)) {
	eachMeta(tree, func(meta map[string]any) {
		list, _ := meta["security"].([]any)
		for _, e := range list {
			m := object(e)
			system, _ := m["system"].(string)
			code, _ := m["code"].(string)
			visit(fhir.Coding{System: system, Code: code})
		}
	})
}
