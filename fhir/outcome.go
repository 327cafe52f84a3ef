package fhir

import "github.com/samber/lo"

// Issue is one issue of an OperationOutcome.
type Issue struct {
	Severity    string // fatal, error, warning, information; error if ""
	Code        string // of http://hl7.org/fhir/issue-type; processing if ""
	Details     string // for the person at the other end
	Diagnostics string // for who looks after the software
	Expression  []string
}

// Outcome is an OperationOutcome of these issues. It always succeeds: what no FHIR string may
// hold is replaced. Without issues it says that all is well, since an
// OperationOutcome must say something.
func Outcome(issues ...Issue) *Resource {
	if len(issues) == 0 {
		issues = []Issue{{Severity: "information", Code: "informational", Details: "All OK"}}
	}
	out := []byte(`{"resourceType":"OperationOutcome","issue":[`)
	for i, issue := range issues {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		out = appendTextMember(out, "severity", clean(lo.CoalesceOrEmpty(issue.Severity, "error")))
		out = appendTextMember(out, "code", clean(lo.CoalesceOrEmpty(issue.Code, "processing")))
		if issue.Details != "" {
			out = appendMember(out, "details", append(appendTextMember([]byte{'{'}, "text", clean(issue.Details)), '}'))
		}
		out = appendTextMember(out, "diagnostics", clean(issue.Diagnostics))
		if len(issue.Expression) > 0 {
			list := []byte{'['}
			for n, e := range issue.Expression {
				if n > 0 {
					list = append(list, ',')
				}
				list = appendText(list, clean(e))
			}
			out = appendMember(out, "expression", append(list, ']'))
		}
		out = append(out, '}')
	}
	return &Resource{typ: "OperationOutcome", json: append(out, "]}"...)}
}

// Issues reads an OperationOutcome, as far as [Issue] goes; nil for any other resource.
func Issues(r *Resource) []Issue {
	if r == nil || r.typ != "OperationOutcome" {
		return nil
	}
	var issues []Issue
	for v := range at(r.json, "issue") {
		issue := Issue{
			Severity: textAt(v, "severity"), Code: textAt(v, "code"),
			Details: textAt(member(v, "details"), "text"), Diagnostics: textAt(v, "diagnostics"),
		}
		for e := range at(v, "expression") {
			s, _ := text(e)
			issue.Expression = append(issue.Expression, s)
		}
		issues = append(issues, issue)
	}
	return issues
}
