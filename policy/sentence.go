package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/samber/lo"
)

// Sentence is what a patient reads before signing, in English and Chinese. It
// is derived from the grant alone and covers everything that the grant says;
// the wording for version 1 is part of what was signed and does not change.
type Sentence struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// Sentence words the grant.
func (g Grant) Sentence() Sentence {
	return Sentence{EN: strings.Join(g.words(english), " "), ZH: strings.Join(g.words(chinese), "")}
}

// phrases are the words of a language, as formats.
type phrases struct {
	permit, deny           string // patient, actors, actions, purposes
	everybody, everyone    string // actor: anybody; patient: all
	anyRole, inRole        string
	anyAction, anyPurpose  string
	and, or                string
	from, until, forever   string
	fromAlways             string
	zone                   string
	all, only              string
	class, category, code  string
	instance, related, by  string
	dated, datedFrom       string
	datedTo                string
	ceiling, ceilingAll    string
	floor, labelled        string
	unlabelled, untold     string
	bearing, cover         string
	covered, uncovered     string
	treatment              string
	hard, redact, alert    string
	redisclose             string
	approvals, eligible    string
	replaces, source, rule string
	parent, path           string
	layer                  map[string]string
	id                     string
	instant                func(ms int64, offset int) string
	word                   func(word) string
	quote                  string
}

// words are the sentences of a grant, in order.
func (g Grant) words(l *phrases) []string {
	patient := g.Patient
	if patient == "" {
		patient = l.everyone
	}
	form := l.deny
	if g.Effect == EffectPermit {
		form = l.permit
	}
	out := []string{fmt.Sprintf(form, patient, l.actors(g.Actors), l.listed(g.Actions, l.anyAction), l.listed(g.Purposes, l.anyPurpose))}
	out = append(out, l.period(g.Time)...)
	out = append(out, l.scope(g)...)
	out = append(out, l.sensitivity(g)...)
	if t := g.Treatment; t != nil {
		out = append(out, fmt.Sprintf(l.treatment, l.instant(t.Until, t.Offset), t.Doctor))
	}
	out = append(out, l.duties(g)...)
	return append(out, l.papers(g)...)
}

func (l *phrases) period(t Time) []string {
	from, until := l.fromAlways, l.forever
	if t.Nbf != 0 {
		from = fmt.Sprintf(l.from, l.instant(t.Nbf, t.NbfOffset))
	}
	if t.Exp != 0 {
		until = fmt.Sprintf(l.until, l.instant(t.Exp, t.ExpOffset))
	}
	out := []string{from + until}
	if t.Zone != "" {
		out = append(out, fmt.Sprintf(l.zone, t.Zone))
	}
	return out
}

// scope says which records are meant.
func (l *phrases) scope(g Grant) []string {
	var parts []string
	add := func(form string, list []string) {
		if list != nil {
			parts = append(parts, fmt.Sprintf(form, l.listed(list, "")))
		}
	}
	add(l.class, g.Classes)
	add(l.category, g.Categories)
	add(l.code, g.Codes)
	if g.Data != nil {
		parts = append(parts, l.join(lo.Map(g.Data, func(d Data, _ int) string {
			return fmt.Sprintf(lo.CoalesceOrEmpty(map[string]string{"instance": l.instance, "related": l.related, "authoredby": l.by}[d.Meaning], d.Meaning+": %s"), d.Ref)
		}), l.or))
	}
	if s := g.DataTime; s != nil {
		from, to := "", ""
		if s.From != 0 {
			from = fmt.Sprintf(l.datedFrom, l.instant(s.From, s.FromOffset))
		}
		if s.To != 0 {
			to = fmt.Sprintf(l.datedTo, l.instant(s.To, s.ToOffset))
		}
		parts = append(parts, fmt.Sprintf(l.dated, l.join(lo.Compact([]string{from, to}), l.and)))
	}
	if parts == nil {
		return []string{l.all}
	}
	out := []string{fmt.Sprintf(l.only, strings.Join(parts, l.and))}
	if g.Effect != EffectPermit {
		out = append(out, l.untold)
	}
	return out
}

// sensitivity says what the ceiling leaves out, and which labels a permit
// includes or a deny is about.
func (l *phrases) sensitivity(g Grant) []string {
	labels := g.Labels
	if labels == nil {
		labels = &Labels{}
	}
	if g.Effect != EffectPermit {
		return l.forbidden(labels)
	}
	ceiling := lo.CoalesceOrEmpty(labels.MaxConf, "N")
	var out []string
	switch above := l.above(ceiling); {
	case above == "":
		out = append(out, fmt.Sprintf(l.ceilingAll, l.confidentiality(ceiling)))
	case ceiling == "R":
		out = append(out, fmt.Sprintf(l.ceiling, l.confidentiality(ceiling), above))
	default:
		out = append(out, fmt.Sprintf(l.ceiling, l.confidentiality(ceiling), above), l.uncovered)
	}
	switch {
	case labels.Cover != nil || labels.Any != nil:
		covered := lo.Uniq(append(append([]string{}, labels.Any...), labels.Cover...))
		out = append(out, fmt.Sprintf(l.cover, l.listed(covered, "")))
	case ceiling == "R" || ceiling == "V":
		out = append(out, l.covered)
	}
	if labels.Any != nil {
		out = append(out, fmt.Sprintf(l.bearing, l.listed(labels.Any, "")))
	}
	return out
}

// forbidden says which labels a deny is about: one is enough.
func (l *phrases) forbidden(labels *Labels) []string {
	var kinds []string
	if labels.Any != nil {
		kinds = append(kinds, fmt.Sprintf(l.labelled, l.listed(labels.Any, "")))
	}
	if labels.MinConf != "" {
		kinds = append(kinds, fmt.Sprintf(l.floor, l.confidentiality(labels.MinConf)))
	}
	if kinds == nil {
		return nil
	}
	return []string{fmt.Sprintf(l.only, l.join(kinds, l.or)), l.unlabelled}
}

// above lists the confidentialities beyond a ceiling.
func (l *phrases) above(ceiling string) string {
	order := []string{"U", "L", "M", "N", "R", "V"}
	i := lo.IndexOf(order, ceiling)
	return l.join(lo.Map(order[i+1:], func(c string, _ int) string { return l.confidentiality(c) }), l.or)
}

func (l *phrases) confidentiality(code string) string {
	if w, ok := confidentialityWords[code]; ok {
		return l.word(w)
	}
	return fmt.Sprintf(l.quote, code)
}

// duties say what a user of the permit must do.
func (l *phrases) duties(g Grant) []string {
	var out []string
	if g.Hard {
		out = append(out, l.hard)
	}
	if o := g.Obligations; o != nil {
		if o.Redact != nil {
			out = append(out, fmt.Sprintf(l.redact, l.quoted(o.Redact)))
		}
		if o.Alert {
			out = append(out, l.alert)
		}
		if o.NoRedisclose {
			out = append(out, l.redisclose)
		}
	}
	if a := g.Approvals; a != nil {
		out = append(out, fmt.Sprintf(l.approvals, fmt.Sprintf(l.quote, a.Rule)))
		if a.Eligible != nil {
			out = append(out, fmt.Sprintf(l.eligible, l.quoted(a.Eligible)))
		}
	}
	return out
}

// papers say what the statement stands on.
func (l *phrases) papers(g Grant) []string {
	var out []string
	if g.Replaces != nil {
		out = append(out, fmt.Sprintf(l.replaces, l.quoted(g.Replaces)))
	}
	if g.Src != nil {
		out = append(out, fmt.Sprintf(l.source, fmt.Sprintf(l.quote, g.Src.Ref), fmt.Sprintf(l.quote, g.Src.SHA256)))
	}
	if g.Parent != "" {
		out = append(out, fmt.Sprintf(l.parent, g.Parent))
	}
	if g.Path != nil {
		out = append(out, fmt.Sprintf(l.path, fmt.Sprint(g.Path)))
	}
	if g.Policy != "" {
		out = append(out, fmt.Sprintf(l.rule, fmt.Sprintf(l.quote, g.Policy)))
	}
	return append(out, fmt.Sprintf(l.id, g.ID, lo.CoalesceOrEmpty(l.layer[g.Layer], g.Layer), g.Status, g.V))
}

func (l *phrases) actors(list []Actor) string {
	if list == nil {
		return l.everybody
	}
	return l.join(lo.Map(list, func(a Actor, _ int) string {
		switch {
		case a.Role == "":
			return fmt.Sprintf(l.quote, a.Ref)
		case a.Ref == "":
			return fmt.Sprintf(l.anyRole, l.coding(a.Role))
		}
		return fmt.Sprintf(l.inRole, fmt.Sprintf(l.quote, a.Ref), l.coding(a.Role))
	}), l.or)
}

// listed words codings or actions, or says any.
func (l *phrases) listed(list []string, any string) string {
	if list == nil {
		return any
	}
	return l.join(lo.Map(list, func(s string, _ int) string { return l.coding(s) }), l.or)
}

// coding is a word that a patient knows, or the code itself in quotation marks.
func (l *phrases) coding(s string) string {
	if w, ok := codingWords[s]; ok {
		return l.word(w)
	}
	return fmt.Sprintf(l.quote, s)
}

func (l *phrases) quoted(list []string) string {
	return l.join(lo.Map(list, func(s string, _ int) string { return fmt.Sprintf(l.quote, s) }), l.and)
}

// join writes a list, with last before its last element.
func (l *phrases) join(list []string, last string) string {
	comma := l.word(word{", ", "、"})
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], comma) + last + list[len(list)-1]
}

// local is an instant on the clock of an offset, its seconds only where it has
// some.
func local(ms int64, offset int) (t time.Time, clock, zone string) {
	t = time.UnixMilli(ms).In(time.FixedZone("", offset*60))
	clock = t.Format("15:04")
	if ms%60000 != 0 {
		clock = t.Format("15:04:05")
	}
	if ms%1000 != 0 {
		clock = t.Format("15:04:05.000")
	}
	return t, clock, "UTC" + t.Format("-07:00")
}

var english = &phrases{
	anyRole: "any %s", inRole: "%s in the role of %s",
	permit:    "%s allows %s to %s records for %s.",
	deny:      "%s forbids %s to %s records for %s.",
	everybody: "everybody", everyone: "On behalf of all patients, the signer",
	anyAction: "read, search, change or otherwise use", anyPurpose: "any purpose",
	and: " and ", or: " or ",
	from: "This begins on %s", until: " and ends on %s.", forever: " and has no end.", fromAlways: "This begins at once",
	zone: "The time zone is %s.",
	all:  "It is about all records.", only: "It is only about records that are %s.",
	class: "of the type %s", category: "in the category %s", code: "about the code %s",
	instance: "exactly %s", related: "part of %s", by: "written by %s",
	dated: "dated %s", datedFrom: "from %s", datedTo: "before %s",
	ceiling:    "Records of confidentiality up to “%s” are included; records that are %s are not.",
	ceilingAll: "Records of confidentiality up to “%s”, which is every record, are included.",
	uncovered:  "So whatever is labelled as sensitive is left out: mental health, addiction, HIV, sexual health, genetics, violence and others.",
	labelled:   "labelled as %s", floor: "%s or stricter",
	unlabelled: "A record without a label counts as one of them.",
	untold:     "A record that does not tell counts as one of them.",
	bearing:    "It is only about records labelled as %s.",
	cover:      "Records with a sensitivity label are included only where every such label is %s.",
	covered:    "Records of every sensitivity are included: mental health, addiction, HIV, sexual health, genetics, violence and others.",
	treatment:  "The treatment ends on %s; from then on only %s may use this.",
	hard:       "Not even an emergency overrides this.",
	redact:     "These parts are left out: %s.",
	alert:      "The patient is told at once of every use.",
	redisclose: "What is read must not be passed on.",
	approvals:  "It may be used only with these approvals: %s.",
	eligible:   "These may approve: %s.",
	replaces:   "It replaces %s.",
	source:     "It was made from %s with the fingerprint %s.",
	parent:     "It was passed on from %s.",
	path:       "Its place there is %s.",
	rule:       "It was written under the rules %s.",
	id:         "(Statement %s, %s, %s, version %d.)",
	layer:      map[string]string{LayerGrant: "consent and grant", LayerConsent: "consent", LayerOrg: "rule of the organisation", LayerLegal: "rule of law"},
	quote:      "“%s”",
	word:       func(w word) string { return w.en },
	instant: func(ms int64, offset int) string {
		t, clock, zone := local(ms, offset)
		return t.Format("2 January 2006") + " at " + clock + " (" + zone + ")"
	},
}

var chinese = &phrases{
	anyRole: "任何%s", inRole: "以%[2]s身份的%[1]s",
	permit:    "%s允许%s为以下目的%[3]s病历:%[4]s。",
	deny:      "%s禁止%s为以下目的%[3]s病历:%[4]s。",
	everybody: "任何人", everyone: "签署者代表所有患者",
	anyAction: "读取、检索、更改或以其他方式使用", anyPurpose: "任何目的",
	and: "并且", or: "或",
	from: "自%s起生效", until: ",至%s终止。", forever: ",没有终止时间。", fromAlways: "立即生效",
	zone: "时区为%s。",
	all:  "涉及全部病历。", only: "仅涉及符合以下条件的病历:%s。",
	class: "类型为%s", category: "类别为%s", code: "代码为%s",
	instance: "即%s", related: "属于%s", by: "由%s书写",
	dated: "日期%s", datedFrom: "自%s起", datedTo: "在%s之前",
	ceiling:    "包括保密级别至「%s」为止的病历;不包括%s的病历。",
	ceilingAll: "包括保密级别至「%s」为止、即所有级别的病历。",
	uncovered:  "因此不包括任何标为敏感的内容:精神健康、成瘾、艾滋病病毒、性健康、遗传信息、暴力及其他。",
	labelled:   "标为%s", floor: "保密级别为%s或更严格",
	unlabelled: "没有标签的病历也视为其中之一。",
	untold:     "未写明上述内容的病历也视为其中之一。",
	bearing:    "仅涉及标为以下内容的病历:%s。",
	cover:      "带有敏感标签的病历,只有其全部标签均为%s时才包括在内。",
	covered:    "包括所有敏感内容的病历:精神健康、成瘾、艾滋病病毒、性健康、遗传信息、暴力及其他。",
	treatment:  "治疗于%s结束;此后只有%s可以使用。",
	hard:       "即使紧急情况也不得违反。",
	redact:     "以下部分不提供:%s。",
	alert:      "每次使用都会立即通知患者。",
	redisclose: "所读内容不得转告他人。",
	approvals:  "须经以下批准方可使用:%s。",
	eligible:   "可批准者:%s。",
	replaces:   "本声明取代%s。",
	source:     "本声明依据%s,其指纹为%s。",
	parent:     "本声明转自%s。",
	path:       "其位置为%s。",
	rule:       "本声明依据规则%s。",
	id:         "(声明%s,%s,%s,第%d版。)",
	layer:      map[string]string{LayerGrant: "同意与授权", LayerConsent: "同意", LayerOrg: "机构规定", LayerLegal: "法律规定"},
	quote:      "「%s」",
	word:       func(w word) string { return w.zh },
	instant: func(ms int64, offset int) string {
		t, clock, zone := local(ms, offset)
		return fmt.Sprintf("%d年%d月%d日%s(%s)", t.Year(), int(t.Month()), t.Day(), clock, zone)
	},
}
