package store

import (
	"math"
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// condition is a piece of SQL with its arguments.
type condition struct {
	sql  string
	args []any
}

// candidates is the statement that finds what fhir.Match has to look at: keys and
// current versions in the order of the keys, from after on, limit at most.
//
// The keys are collected before any body is touched (MATERIALIZED), so that sorting
// them does not drag the bodies along.
func candidates(q fhir.Query, after int64, limit int) condition {
	where := condition{sql: "live"}
	typ, key := "type = ?", "key > ?"
	for _, t := range q.Terms {
		narrowed := narrow(q.Type, t)
		if narrowed.sql == "" {
			continue
		}
		where.and(narrowed)
		// A plus keeps SQLite from using an index: what was found narrows better.
		switch {
		case t.Param.Name == "_id", t.Param.Name == "_lastUpdated" && begins(t):
			key = "+key > ?"
		case t.Param.Name != "_lastUpdated":
			typ = "+type = ?"
		}
	}
	where.and(condition{typ, []any{q.Type}})
	where.and(condition{key, []any{after}})
	return condition{
		sql: "WITH hit AS MATERIALIZED (SELECT key, current FROM resource WHERE " + where.sql + " ORDER BY key LIMIT ?) " +
			"SELECT hit.key, v.body FROM hit CROSS JOIN version v ON v.key = hit.current",
		args: append(where.args, limit),
	}
}

func (c *condition) and(d condition) {
	c.sql += " AND " + d.sql
	c.args = append(c.args, d.args...)
}

// either joins conditions by OR; if one of them holds for everything, so does the whole.
func either(all []condition) condition {
	if len(all) == 0 || slices.ContainsFunc(all, func(c condition) bool { return c.sql == "" }) {
		return condition{}
	}
	return condition{
		sql:  "(" + strings.Join(lo.Map(all, func(c condition, _ int) string { return c.sql }), " OR ") + ")",
		args: lo.FlatMap(all, func(c condition, _ int) []any { return c.args }),
	}
}

// narrow gives what is true of every resource that a term matches; an empty
// condition if nothing helpful is known.
func narrow(typ string, t fhir.Term) condition {
	if t.Modifier == "missing" || t.Modifier == "not" || t.Modifier == "contains" {
		return condition{}
	}
	switch t.Param.Name {
	case "_id":
		if lo.SomeBy(t.Values, func(v fhir.TermValue) bool { return v.Coding.Code == "" }) {
			return condition{}
		}
		return in("id", lo.Map(t.Values, func(v fhir.TermValue, _ int) any { return v.Coding.Code }))
	case "_lastUpdated":
		return either(lo.Map(t.Values, func(v fhir.TermValue, _ int) condition { return updatedWithin(datesOf(v)) }))
	}
	h := hasher{typ, t.Param.Name}
	switch t.Param.Type {
	case fhir.TypeToken, fhir.TypeReference, fhir.TypeURI:
		hashes := lo.Map(t.Values, func(v fhir.TermValue, _ int) any { return h.asked(t.Param.Type, v) })
		if slices.Contains(hashes, nil) {
			return condition{}
		}
		return rows(in("hash", append(hashes, h.of(byTooMany))))
	case fhir.TypeString:
		return h.rows(lo.Map(t.Values, func(v fhir.TermValue, _ int) condition { return h.words(v) }))
	case fhir.TypeDate:
		return h.rows(lo.Map(t.Values, func(v fhir.TermValue, _ int) condition { return h.periods(datesOf(v)) }))
	}
	return condition{}
}

// rows turns a condition on the index into one on resources.
func rows(c condition) condition {
	if c.sql == "" {
		return c
	}
	return condition{sql: "key IN (SELECT resource FROM entry WHERE " + c.sql + ")", args: c.args}
}

// rows takes the resources with any of these rows, or with too many to say.
func (h hasher) rows(all []condition) condition {
	return rows(either(append(all, condition{sql: "hash = ?", args: []any{h.of(byTooMany)}})))
}

// asked is the hash that a value would be found under; nil for what is not indexed.
func (h hasher) asked(kind string, v fhir.TermValue) any {
	switch {
	case kind == fhir.TypeToken && v.Coding.Code == "":
		return nil // "any code of this system"
	case kind == fhir.TypeToken && v.AnySystem:
		return h.of(byCode, v.Coding.Code)
	case kind == fhir.TypeToken:
		return h.of(byCoding, v.Coding.System, v.Coding.Code)
	case v.Text != "":
		return h.of(byURL, v.Text)
	case kind == fhir.TypeReference && v.Ref.Type != "":
		return h.of(byRef, v.Ref.Type, v.Ref.ID)
	case kind == fhir.TypeReference:
		return h.of(byRefID, v.Ref.ID)
	}
	return nil
}

func (h hasher) words(v fhir.TermValue) condition {
	word := beginning(v.Text)
	if word == "" {
		return condition{}
	}
	// No UTF-8 text has the byte ff in it.
	return condition{sql: "hash = ? AND word >= ? AND word < ?", args: []any{h.of(byWord), word, word + "\xff"}}
}

// dates bounds both ends of the periods that a date search can match; nil if anything can.
type dates struct{ lowest, latestLow, earliestHigh, highest int64 }

// datesOf follows fhir's comparison of dates, each prefix a little more generously:
// R4 §3.1.1.4.5.
func datesOf(v fhir.TermValue) *dates {
	d := &dates{math.MinInt64, math.MaxInt64, math.MinInt64, math.MaxInt64}
	switch v.Prefix {
	case "eq":
		d.lowest, d.highest = from(v.Period), to(v.Period)
	case "gt", "ge":
		d.earliestHigh = from(v.Period)
	case "lt", "le":
		d.latestLow = to(v.Period)
	case "sa":
		d.lowest = from(fhir.Period{From: v.Period.To})
	case "eb":
		d.highest = to(fhir.Period{To: v.Period.From})
	case "ap":
		d.latestLow, d.earliestHigh = to(v.Period), from(v.Period)
	default: // ne
		return nil
	}
	return d
}

func (h hasher) periods(d *dates) condition {
	if d == nil {
		return condition{}
	}
	return condition{
		sql:  "hash = ? AND word = '' AND low BETWEEN ? AND ? AND high BETWEEN ? AND ?",
		args: []any{h.of(byPeriod), d.lowest, d.latestLow, d.earliestHigh, d.highest},
	}
}

// begins tells searches for what changed since some time, which is mostly little.
func begins(t fhir.Term) bool {
	return lo.EveryBy(t.Values, func(v fhir.TermValue) bool {
		d := datesOf(v)
		return d != nil && max(d.lowest, d.earliestHigh) != math.MinInt64
	})
}

// updatedWithin is the same for lastUpdated, a period of one millisecond.
func updatedWithin(d *dates) condition {
	if d == nil {
		return condition{}
	}
	earliest := d.earliestHigh
	if earliest != math.MinInt64 {
		earliest--
	}
	return condition{
		sql:  "updated BETWEEN ? AND ?",
		args: []any{max(d.lowest, earliest), min(d.latestLow, d.highest)},
	}
}

func in(column string, values []any) condition {
	return condition{sql: column + " IN (" + strings.TrimSuffix(strings.Repeat("?,", len(values)), ",") + ")", args: values}
}
