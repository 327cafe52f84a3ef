package gateway

import (
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// Labels on what goes out and on what comes in: HL7 DS4P, one confidentiality
// and any number of sensitivities in meta.security.

// securityOf is a record's labels as codings.
func securityOf(a policy.Resource) []fhir.Coding {
	var out []fhir.Coding
	if a.Conf != "" {
		out = append(out, fhir.Coding{System: policy.SystemConfidentiality, Code: a.Conf})
	}
	for _, s := range a.Sens {
		out = append(out, fhir.ParseCoding(s))
	}
	return out
}

// redactedLabel says that something was left out (v3-ObservationValue).
func redactedLabel() fhir.Coding {
	return fhir.Coding{System: policy.SystemObservationValue, Code: "REDACTED"}
}

// noRedisclosure is the refrain of 42 CFR Part 2: not to be passed on without
// consent (v3-ActCode).
func noRedisclosure() fhir.Coding {
	return fhir.Coding{System: policy.SystemSensitivity, Code: "NORDSCLCD"}
}

// subsettedLabel says that this is a part of the record only.
func subsettedLabel() fhir.Coding {
	return fhir.Coding{System: policy.SystemObservationValue, Code: "SUBSETTED"}
}

// mergeCodings adds codings to those there, keeping one confidentiality: the
// one added, which was never lower.
func mergeCodings(have, add []fhir.Coding) []fhir.Coding {
	confidentiality := func(c fhir.Coding) bool { return c.System == policy.SystemConfidentiality }
	if slices.ContainsFunc(add, confidentiality) {
		have = lo.Reject(have, func(c fhir.Coding, _ int) bool { return confidentiality(c) })
	}
	return lo.UniqBy(append(slices.Clone(have), add...), fhir.Coding.String)
}

// higher is the stricter of two confidentiality codes (v3-Confidentiality is
// ordered U<L<M<N<R<V). What is none of these counts as the strictest.
func higher(a, b string) string {
	const order = "ULMNRV"
	rank := func(c string) int {
		if len(c) != 1 || !strings.Contains(order, c) {
			return len(order)
		}
		return strings.Index(order, c)
	}
	if a == "" || b != "" && rank(b) > rank(a) {
		return b
	}
	return a
}

// water is the high-water mark of the labels of what a bundle holds.
func water(all []policy.Resource) []fhir.Coding {
	if len(all) == 0 {
		return nil
	}
	var mark policy.Resource
	for _, a := range all {
		mark.Conf = higher(mark.Conf, a.Conf)
		mark.Sens = append(mark.Sens, a.Sens...)
	}
	slices.Sort(mark.Sens)
	mark.Sens = slices.Compact(mark.Sens)
	return securityOf(mark)
}

// redactTree removes elements by their dotted paths, with or without the type in
// front, through lists.
func redactTree(tree map[string]any, typ string, paths []string) {
	for _, p := range paths {
		removePath(tree, strings.Split(strings.TrimPrefix(p, typ+"."), "."))
	}
}

func removePath(node any, path []string) {
	switch n := node.(type) {
	case []any:
		for _, v := range n {
			removePath(v, path)
		}
	case map[string]any:
		if len(path) == 1 {
			delete(n, path[0])
			delete(n, "_"+path[0]) // a primitive's extensions are part of it
			return
		}
		removePath(n[path[0]], path[1:])
	}
}
