package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/samber/lo"
	"github.com/spf13/cobra"

	"github.com/wardkey/wardkey/gateway/node"
)

func checkCommand() *cobra.Command {
	var file, upstream string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check --config FILE [--upstream URL]",
		Short: "validate a configuration and say what it would run",
		Args:  exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" && upstream == "" {
				return &usageError{errors.New("--config or --upstream is required")}
			}
			return check(cmd.Context(), cmd.OutOrStdout(), file, upstream, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the role's configuration `FILE`")
	cmd.Flags().StringVar(&upstream, "upstream", "", "also ask the FHIR server at `URL` what it can do")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return cmd
}

// A checkReport is the answer of check.
type checkReport struct {
	OK       bool                 `json:"ok"`
	Role     string               `json:"role,omitempty"`
	Would    []string             `json:"would,omitempty"` // what starting it would do
	Upstream *node.UpstreamReport `json:"upstream,omitempty"`
	Findings []finding            `json:"findings"`
	Warnings []finding            `json:"warnings,omitempty"` // no mistakes, and worth a second look
}

type finding struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail"`
}

func check(ctx context.Context, w io.Writer, file, upstream string, asJSON bool) error {
	report := checkReport{Findings: []finding{}}
	var failures []error
	if file != "" {
		plan, err := node.Check(ctx, file)
		report.Role, report.Would = plan.Role, plan.Would
		report.Warnings = places(file, plan.Warnings)
		failures = append(failures, err)
	}
	if upstream != "" {
		seen, err := node.CheckUpstream(ctx, upstream)
		report.Upstream = seen
		failures = append(failures, err)
	}
	failures = lo.Filter(failures, func(err error, _ int) bool { return err != nil })
	for _, err := range failures {
		report.Findings = append(report.Findings, findings(err)...)
	}
	report.OK = len(failures) == 0
	if err := printCheck(w, report, errors.Join(failures...), asJSON); err != nil {
		return err
	}
	if !report.OK {
		return errFound
	}
	return nil
}

func findings(err error) []finding {
	if c, ok := errors.AsType[*node.ConfigError](err); ok {
		return places(c.File, c.Problems)
	}
	return []finding{{Detail: err.Error()}}
}

func places(file string, problems []node.Problem) []finding {
	return lo.Map(problems, func(p node.Problem, _ int) finding {
		return finding{File: file, Line: p.Line, Column: p.Column, Path: p.Path, Detail: p.Message}
	})
}

// String is the finding as compilers write it.
func (f finding) String() string {
	problem := node.Problem{Line: f.Line, Column: f.Column, Path: f.Path, Message: f.Detail}
	return (&node.ConfigError{File: f.File, Problems: []node.Problem{problem}}).Error()
}

func printCheck(w io.Writer, report checkReport, failure error, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(report)
	}
	var out strings.Builder
	if report.Role != "" {
		fmt.Fprintf(&out, "role: %s\n", report.Role)
	}
	for _, line := range report.Would {
		fmt.Fprintf(&out, "would %s\n", line)
	}
	if u := report.Upstream; u != nil {
		fmt.Fprintf(&out, "upstream: %s, FHIR %s, %d resource types\n", u.Software, u.FHIRVersion, len(u.Types))
	}
	for _, w := range report.Warnings {
		fmt.Fprintf(&out, "%s (a warning)\n", w)
	}
	if failure != nil {
		fmt.Fprintln(&out, failure)
	} else {
		fmt.Fprintln(&out, "ok")
	}
	_, err := io.WriteString(w, out.String())
	return err
}
