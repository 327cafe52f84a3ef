package fhir

import (
	"errors"
	"time"
)

// Period is the time that a date of some precision, or a pair of dates, covers: from
// From up to but not including To. A zero From has no beginning, a zero To no
// end.
type Period struct{ From, To time.Time }

var errDate = errors.New("not a FHIR date, dateTime or instant")

// ParseDate reads a date, dateTime or instant and returns the time that it covers at its
// precision: "2020-02" is all of February. Seconds and the time zone may be missing as they may in a
// search; a date without a zone is one in zone (UTC if nil).
//
// The error says only that s is no date; it does not repeat s.
func ParseDate(s string, zone *time.Location) (Period, error) {
	if zone == nil {
		zone = time.UTC
	}
	d := dateReader{rest: s}
	year := d.digits(4)
	if year == 0 {
		return Period{}, errDate
	}
	month, day := 1, 1
	span := func(y, m, d int) Period {
		return Period{date(year, month, day, zone), date(year+y, month+m, day+d, zone)}
	}
	if d.done() {
		return span(1, 0, 0), nil
	}
	d.skip('-')
	if month = d.digits(2); month < 1 || month > 12 {
		return Period{}, errDate
	}
	if d.done() {
		return span(0, 1, 0), nil
	}
	d.skip('-')
	if day = d.digits(2); day < 1 || day > daysIn(year, month) {
		return Period{}, errDate
	}
	if d.done() {
		return span(0, 0, 1), nil
	}
	d.skip('T')
	return d.clock(date(year, month, day, time.UTC), zone)
}

func date(year, month, day int, zone *time.Location) time.Time {
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, zone).UTC()
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// dateReader reads fixed-width fields; after a first mismatch bad stays set.
type dateReader struct {
	rest string
	bad  bool
}

func (d *dateReader) done() bool { return !d.bad && d.rest == "" }

func (d *dateReader) skip(c byte) {
	if d.rest == "" || d.rest[0] != c {
		d.bad = true
		return
	}
	d.rest = d.rest[1:]
}

// digits reads n digits; -1 if they are not there.
func (d *dateReader) digits(n int) int {
	if d.bad || len(d.rest) < n {
		d.bad = true
		return -1
	}
	value := 0
	for _, c := range []byte(d.rest[:n]) {
		if c < '0' || c > '9' {
			d.bad = true
			return -1
		}
		value = value*10 + int(c-'0')
	}
	d.rest = d.rest[n:]
	return value
}

// clock reads what follows the T. midnight is the day's beginning as if in UTC.
func (d *dateReader) clock(midnight time.Time, zone *time.Location) (Period, error) {
	hour := d.digits(2)
	d.skip(':')
	minute := d.digits(2)
	length, second, fraction := time.Minute, 0, time.Duration(0)
	if !d.bad && d.rest != "" && d.rest[0] == ':' {
		d.skip(':')
		second, length = d.digits(2), time.Second
		if !d.bad && d.rest != "" && d.rest[0] == '.' {
			d.skip('.')
			fraction, length = d.fraction()
		}
	}
	if hour > 23 || minute > 59 || second > 60 { // 60: FHIR admits leap seconds
		d.bad = true
	}
	if !d.bad && d.rest != "" {
		zone = d.zone()
	}
	if d.bad || d.rest != "" {
		return Period{}, errDate
	}
	from := time.Date(midnight.Year(), midnight.Month(), midnight.Day(), hour, minute, second, int(fraction), zone).UTC()
	return Period{from, from.Add(length)}, nil
}

// fraction reads up to nine digits of a second and says how long the last of them is.
func (d *dateReader) fraction() (value, unit time.Duration) {
	unit = time.Second
	n := 0
	for ; n < len(d.rest) && d.rest[n] >= '0' && d.rest[n] <= '9'; n++ {
		unit /= 10
		value += time.Duration(d.rest[n]-'0') * unit
	}
	if n == 0 || n > 9 {
		d.bad = true
		return 0, time.Second
	}
	d.rest = d.rest[n:]
	return value, unit
}

func (d *dateReader) zone() *time.Location {
	if d.rest == "Z" {
		d.rest = ""
		return time.UTC
	}
	sign := 1
	switch d.rest[0] {
	case '+':
	case '-':
		sign = -1
	default:
		d.bad = true
		return time.UTC
	}
	d.rest = d.rest[1:]
	hours := d.digits(2)
	d.skip(':')
	minutes := d.digits(2)
	if d.bad || minutes > 59 || hours > 14 || hours == 14 && minutes > 0 {
		d.bad = true
		return time.UTC
	}
	return time.FixedZone("", sign*(hours*60+minutes)*60)
}

// parseInstant reads a date with a time of day and a zone.
func parseInstant(s string) (time.Time, error) {
	p, err := ParseDate(s, time.UTC)
	if err == nil && p.To.Sub(p.From) > time.Second {
		err = errDate
	}
	return p.From, err
}

// FormatInstant writes t as an instant in UTC with milliseconds, the precision that Wardkey keeps.
func FormatInstant(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// Within says whether p lies in q as a whole.
func (p Period) Within(q Period) bool {
	return (q.From.IsZero() || !p.From.IsZero() && !p.From.Before(q.From)) &&
		(q.To.IsZero() || !p.To.IsZero() && !p.To.After(q.To))
}

// Overlaps says whether p and q have a moment in common.
func (p Period) Overlaps(q Period) bool {
	return (p.From.IsZero() || q.To.IsZero() || p.From.Before(q.To)) &&
		(q.From.IsZero() || p.To.IsZero() || q.From.Before(p.To))
}

// around is the smallest period that holds both.
func (p Period) around(q Period) Period {
	if q.From.IsZero() || !p.From.IsZero() && q.From.Before(p.From) {
		p.From = q.From
	}
	if q.To.IsZero() || !p.To.IsZero() && q.To.After(p.To) {
		p.To = q.To
	}
	return p
}
