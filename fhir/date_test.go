package fhir_test

import (
	"testing"
	"time"

	"github.com/wardkey/wardkey/fhir"
)

func TestDatesCoverTheirPrecision(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("", 3600)
	}
	for in, want := range map[string][2]string{
		"2020":                           {"2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"},
		"2020-02":                        {"2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"},
		"2020-12":                        {"2020-12-01T00:00:00Z", "2021-01-01T00:00:00Z"},
		"2020-02-29":                     {"2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"},
		"2020-12-31":                     {"2020-12-31T00:00:00Z", "2021-01-01T00:00:00Z"},
		"2020-02-29T23:59":               {"2020-02-29T23:59:00Z", "2020-03-01T00:00:00Z"},
		"2020-02-29T23:59Z":              {"2020-02-29T23:59:00Z", "2020-03-01T00:00:00Z"},
		"2020-02-29T23:59:59":            {"2020-02-29T23:59:59Z", "2020-03-01T00:00:00Z"},
		"2020-01-01T00:00:00+02:00":      {"2019-12-31T22:00:00Z", "2019-12-31T22:00:01Z"},
		"2020-01-01T00:00:00-05:30":      {"2020-01-01T05:30:00Z", "2020-01-01T05:30:01Z"},
		"2020-01-01T00:00:00.5Z":         {"2020-01-01T00:00:00.5Z", "2020-01-01T00:00:00.6Z"},
		"2020-01-01T00:00:00.839Z":       {"2020-01-01T00:00:00.839Z", "2020-01-01T00:00:00.84Z"},
		"2020-01-01T00:00:00.123456789Z": {"2020-01-01T00:00:00.123456789Z", "2020-01-01T00:00:00.12345679Z"},
		"2016-12-31T23:59:60Z":           {"2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z"},
		"0001-01-01":                     {"0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z"},
		"9999":                           {"9999-01-01T00:00:00Z", "10000-01-01T00:00:00Z"},
	} {
		p, err := fhir.ParseDate(in, nil)
		if err != nil {
			t.Errorf("ParseDate(%s): %v", in, err)
		}
		if got := [2]string{p.From.Format(time.RFC3339Nano), p.To.Format(time.RFC3339Nano)}; got != want {
			t.Errorf("ParseDate(%s) = %v, want %v", in, got, want)
		}
	}
	// The day on which clocks go forward has 23 hours.
	p, err := fhir.ParseDate("2020-03-29", berlin)
	if err != nil || berlin.String() == "Europe/Berlin" && p.To.Sub(p.From) != 23*time.Hour {
		t.Errorf("a short day lasts %v, %v", p.To.Sub(p.From), err)
	}
	if p, _ := fhir.ParseDate("2020-01-01T00:00:00Z", berlin); p.From.Hour() != 0 {
		t.Errorf("a zone that is written does not count: %v", p.From)
	}
}

func TestWhatIsNoDateIsRefused(t *testing.T) {
	for _, in := range []string{
		"", "2", "202", "20200", "2020-", "2020-1", "2020-00", "2020-13", "2020-01-", "2020-01-00", "2020-01-32", "2019-02-29", "2100-02-29",
		"2020-01-01T", "2020-01-01T10", "2020-01-01T10Z", "2020-01-01T24:00", "2020-01-01T10:60", "2020-01-01T10:00:61", "2020-01-01T10:00:00.",
		"2020-01-01T10:00:00.1234567890Z", "2020-01-01T10:00:00z", "2020-01-01t10:00:00Z", "2020-01-01 10:00:00Z", "2020-01-01T10:00:00+15:00",
		"2020-01-01T10:00:00+14:01", "2020-01-01T10:00:00+0200", "2020-01-01T10:00:00+02", "2020-01-01T10:00:00Z ", " 2020", "0000", "0000-01-01",
		"2020Z", "2020-01-01Z", "+2020", "-020", "２０２０", "2020-01-01T10:00:00,5Z", "20200101", "2020-001",
	} {
		if p, err := fhir.ParseDate(in, nil); err == nil {
			t.Errorf("ParseDate(%q) = %v", in, p)
		}
	}
}

// FuzzParseDate: a date that is accepted covers some time, and its beginning written as
// an instant is the same moment.
func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"2020", "2020-02", "2020-02-29", "2020-02-29T10:00", "2020-02-29T10:00:00.123+02:00", "2016-12-31T23:59:60Z", "9999-12-31"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := fhir.ParseDate(s, nil)
		if err != nil {
			return
		}
		if !p.From.Before(p.To) {
			t.Errorf("ParseDate(%q) = %v", s, p)
		}
		if p.From.Nanosecond()%1e6 == 0 && p.From.Year() > 0 && p.From.Year() < 10000 {
			again, err := fhir.ParseDate(fhir.FormatInstant(p.From), nil)
			if err != nil || !again.From.Equal(p.From) {
				t.Errorf("%q begins %v, read again %v, %v", s, p.From, again, err)
			}
		}
	})
}
