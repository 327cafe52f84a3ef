package fhirtest

import (
	"strings"

	"github.com/wardkey/wardkey/fhir"
)

// exampleBase is where the examples pretend to live.
const exampleBase = "http://example.org/fhir/"

// Genomics returns the genomic examples as loose resources of one patient: reports, observations, and
// the specimens, requests, medication and tasks around them. What a resource refers to is among
// them or, where it belonged to no patient, only named. Ids are valid and always
// the same, so for a second patient they need renaming.
func Genomics(subject fhir.Ref) []*fhir.Resource {
	var all []*fhir.Resource
	loose := map[string]string{} // references between the examples that are no bundles
	examples := read("genomics")
	for _, r := range examples {
		if r.Type() != "Bundle" {
			loose[r.Ref().String()] = r.Type() + "/" + exampleID(r.ID(), "")
		}
	}
	for _, r := range examples {
		if r.Type() != "Bundle" {
			all = append(all, adopted(r, exampleID(r.ID(), ""), subject, loose))
			continue
		}
		b, err := fhir.ParseBundle(r, 0)
		if err != nil {
			panic(err)
		}
		all = append(all, unbundled(r.ID(), b, subject)...)
	}
	return all
}

func unbundled(name string, b fhir.Bundle, subject fhir.Ref) []*fhir.Resource {
	ids := make([]string, len(b.Entries))
	known := map[string]string{}
	for i, e := range b.Entries {
		if !fhir.InPatientCompartment(e.Resource.Type()) || e.Resource.Type() == "Patient" {
			continue
		}
		local := e.Resource.ID()
		if local == "" {
			local = e.FullURL[len(e.FullURL)-4:] // of a urn:uuid
		}
		ids[i] = exampleID(name, local)
		to := e.Resource.Type() + "/" + ids[i]
		known[e.FullURL], known[strings.TrimPrefix(e.FullURL, exampleBase)] = to, to
		known[e.Resource.Ref().String()] = to
	}
	var all []*fhir.Resource
	for i, e := range b.Entries {
		if ids[i] != "" {
			all = append(all, adopted(e.Resource, ids[i], subject, known))
		}
	}
	return all
}

func exampleID(name, local string) string {
	id := "genomic-" + strings.ToLower(name)
	if local != "" {
		id += "-" + strings.ToLower(local)
	}
	return id[:min(len(id), 64)]
}

// adopted makes r a resource of the patient.
func adopted(r *fhir.Resource, id string, subject fhir.Ref, known map[string]string) *fhir.Resource {
	return must(r.With(func(tree map[string]any) {
		tree["id"] = id
		repoint(tree, subject.String(), known)
		element := "subject"
		if r.Type() == "Task" {
			element = "for"
		}
		tree[element] = map[string]any{"reference": subject.String()}
	}))
}

// repoint turns the references below node to the patient and to known resources; of others the
// name alone is left.
func repoint(node any, patient string, known map[string]string) {
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			repoint(v, patient, known)
		}
	case map[string]any:
		if s, ok := node["reference"].(string); ok && !strings.HasPrefix(s, "#") {
			if to, ok := known[s]; ok {
				node["reference"] = to
			} else {
				delete(node, "reference")
				if node["display"] == nil {
					node["display"] = s
				}
			}
		}
		for name, v := range node {
			if name == "subject" || name == "for" {
				node[name] = map[string]any{"reference": patient}
			} else {
				repoint(v, patient, known)
			}
		}
	}
}
