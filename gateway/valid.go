package gateway

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/records"
)

// owners are the elements that may say whose record a resource is; see
// [fhir.Owner].
var owners = [...]string{"subject", "patient", "beneficiary", "candidate", "individual", "for", "deliverTo", "actor"}

// plainOwner returns the resource with its references to whose record it is in
// their plain form: one that begins with our base is made relative. A version of
// a patient is nobody whose record anything could be.
func (g *Gateway) plainOwner(r *fhir.Resource) (*fhir.Resource, error) {
	tree, changed := r.Tree(), false
	holders := []map[string]any{tree}
	if r.Type() == "Appointment" {
		for _, p := range anyList(tree["participant"]) {
			if m, ok := p.(map[string]any); ok {
				holders = append(holders, m)
			}
		}
	}
	for _, holder := range holders {
		for _, name := range owners {
			list, many := holder[name].([]any)
			if !many {
				list = []any{holder[name]}
			}
			for _, v := range list {
				reference, _ := v.(map[string]any)
				s, ok := reference["reference"].(string)
				if !ok {
					continue
				}
				ref, err := fhir.ParseRef(s, g.c.Base)
				switch {
				case err != nil: // policy says so of those that count
				case ref.Type == "Patient" && ref.Version != "":
					return nil, invalidAt(r.Type()+"."+name, "names a version of a patient")
				case strings.Contains(s, "://"):
					reference["reference"], changed = ref.String(), true
				}
			}
		}
	}
	if !changed {
		return r, nil
	}
	return fhir.New(tree)
}

// invalidAt is a resource that cannot be stored for an element, named by its
// path and never by what it holds.
func invalidAt(path, what string) error { return refuseFor(unprocessable, path+": "+what) }

// valid refuses what would be wrong once it is sealed, where no store can look
// any more: elements missing, dates that are none, a patient who is not there. It
// is asked about the writes of those alone who may write, for it tells them
// which patients exist.
func (g *Gateway) valid(ctx context.Context, r *fhir.Resource, patient string) error {
	if lacks := records.Missing(r); lacks != "" {
		return invalidAt(lacks, "missing, or not of its type")
	}
	tree := r.Tree()
	if at := badDate(r.Type(), tree); at != "" {
		return invalidAt(at, "not a date or time")
	}
	if at := badCode(r.Type(), tree); at != "" {
		return invalidAt(at, "not a code of its value set")
	}
	if at := blank(r.Type(), tree); at != "" {
		return invalidAt(at, "empty")
	}
	if r.Type() == "Patient" {
		return nil
	}
	row, known, err := g.current(ctx, "Patient", strings.TrimPrefix(patient, "Patient/"))
	if err != nil {
		return err
	}
	if !known || row.Deleted {
		return refuseFor(unprocessable, "the patient to whose record it would belong does not exist")
	}
	return nil
}

// badDate is the path of the first element that should hold a date and does not:
// policy decides by when something was, and a date that it cannot read would be
// none to it.
func badDate(typ string, tree map[string]any) string {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		at := typ + "." + name
		switch {
		case strings.HasPrefix(name, "_"): // a primitive's extensions
		case strings.HasSuffix(name, "DateTime"), strings.HasSuffix(name, "Instant"), isDate(name):
			if !dates(tree[name]) {
				return at
			}
		case strings.HasSuffix(name, "Period") || name == "period":
			period, ok := tree[name].(map[string]any)
			if !ok {
				return at
			}
			for _, edge := range []string{"start", "end"} {
				if v, there := period[edge]; there && !dates(v) {
					return at + "." + edge
				}
			}
		}
	}
	return ""
}

// isDate is true of the elements of R4 resources that hold a date, dateTime or
// instant and whose name does not say so.
func isDate(name string) bool {
	switch name {
	case "date", "issued", "birthDate", "recordedDate", "recorded", "authored", "authoredOn", "created", "started", "dateAsserted",
		"whenPrepared", "whenHandedOver", "lastOccurrence", "sent", "received", "receivedTime", "start", "end", "dateWritten", "lastModified", "statusDate", "expirationDate":
		return true
	}
	return false
}

func dates(v any) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	_, err := fhir.ParseDate(s, nil)
	return err == nil
}
