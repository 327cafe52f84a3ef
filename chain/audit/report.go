// Package audit judges a log, or evidence from one, by its files alone.
//
// [Verify] takes a log directory and believes nothing in it: it decrypts every
// body, recomputes every leaf and the whole tree, holds each batch's checkpoint
// and each tile against it, verifies every signature, and follows each patient's
// sequence. [VerifyEvidence] does the same for a single file that was made by
// [PatientEvidence] or [EntryEvidence], and needs neither the log nor a network.
// Both can be pinned to keys and checkpoints that the auditor has from elsewhere;
// without them they prove that the files agree with each other, and say so.
//
// What it leaves to others: whether the statements in the entries were valid and
// the decisions right, which package policy replays; and that nothing is missing
// at the end of a patient's sequence, for which custodians would have to attest
// its head.
package audit

import (
	"fmt"
	"io"
	"strings"
)

// Codes of findings.
const (
	CodeDescription = "description"     // log.json is not what it should be
	CodeForeign     = "foreign"         // a file, or bytes, that are no part of a log
	CodeDamage      = "damage"          // a checksum, a length or a header is wrong
	CodeTorn        = "torn-tail"       // the last batch was not finished, or was cut
	CodeGap         = "gap"             // entries are missing
	CodeKeys        = "keys"            // the key file is not what it should be
	CodeBody        = "body"            // a body is not the one its leaf commits to
	CodeSequence    = "sequence"        // a patient's entries do not follow each other
	CodeTime        = "time"            // time goes back
	CodeGenesis     = "genesis"         // entry 0 does not bind log.json
	CodeRoot        = "root"            // a checkpoint is not that of its entries
	CodeSignature   = "signature"       // a signature does not verify
	CodePublished   = "published"       // the published checkpoint is not the log's
	CodeTile        = "tile"            // a tile is not the recomputed one
	CodePinned      = "pinned"          // a key is not the one the auditor knows
	CodeFork        = "fork"            // a checkpoint seen elsewhere is of another history
	CodeRollback    = "rollback"        // a checkpoint seen elsewhere is of a longer history
	CodeEvidence    = "evidence"        // an evidence file is not what it should be
	CodeInclusion   = "inclusion"       // an entry is not in the tree
	CodeMany        = "and-many-others" // there are more findings than are listed
)

// Finding is one thing that is wrong.
type Finding struct {
	Code   string `json:"code"`
	Index  uint64 `json:"index"` // of the entry concerned; 0 where it is none in particular
	Detail string `json:"detail"`
}

// Report is a verdict. It is OK when there is no finding.
type Report struct {
	OK       bool      `json:"ok"`
	Proved   []string  `json:"proved"`   // what has been shown, in words
	Findings []Finding `json:"findings"` // what is wrong
	Notes    []string  `json:"notes"`    // what has not been shown, and what an auditor should know
}

// Text writes the report for people.
func (r Report) Text(w io.Writer) error {
	var out strings.Builder
	verdict := "NOT PROVEN"
	if r.OK {
		verdict = "PROVEN"
	}
	fmt.Fprintln(&out, verdict)
	for _, p := range r.Proved {
		fmt.Fprintf(&out, "  + %s\n", p)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "  ! %s at entry %d: %s\n", f.Code, f.Index, f.Detail)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&out, "  - %s\n", n)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// maxFindings bounds a report: a log that is wrong throughout says so briefly.
const maxFindings = 200

func (r *Report) find(code string, index uint64, format string, args ...any) {
	switch n := len(r.Findings); {
	case n < maxFindings:
		r.Findings = append(r.Findings, Finding{Code: code, Index: index, Detail: fmt.Sprintf(format, args...)})
	case n == maxFindings:
		r.Findings = append(r.Findings, Finding{Code: CodeMany, Index: index, Detail: "further findings are not listed"})
	}
}

func (r *Report) prove(format string, args ...any) {
	r.Proved = append(r.Proved, fmt.Sprintf(format, args...))
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// close fills in what follows from the rest.
func (r *Report) close() Report {
	r.OK = len(r.Findings) == 0
	if r.Proved == nil {
		r.Proved = []string{}
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	return *r
}
