package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir/client"
)

// A Plan is what a configuration would run.
type Plan struct {
	Role     string    // gateway or custodian; "" when the file does not say
	Would    []string  // what starting would do, in words
	Warnings []Problem // what is no mistake, and worth a second look
}

// Check reads a configuration of any role and everything that it names, and
// starts nothing. Mistakes in the file, in the trust file and in the labelling
// come as a [*ConfigError]; what is wrong with the other files and keys it names
// as other errors.
func Check(ctx context.Context, path string) (Plan, error) {
	data, err := readConfig(path)
	if err != nil {
		return Plan{}, err
	}
	role, err := roleOf(path, data)
	if err != nil {
		return Plan{}, err
	}
	if role == roleGateway {
		return checkGateway(ctx, path, data)
	}
	plan := Plan{Role: role}
	c, err := LoadCustodian(path)
	if err != nil {
		return plan, err
	}
	p, err := c.plan(ctx)
	if err != nil {
		return plan, err
	}
	p.share.Destroy()
	plan.Would = p.describe()
	return plan, nil
}

func checkGateway(ctx context.Context, path string, data []byte) (Plan, error) {
	plan := Plan{Role: roleGateway}
	c, err := LoadGateway(path)
	if err != nil {
		return plan, err
	}
	if plan.Warnings, err = c.checkPeers(path, data); err != nil {
		return plan, err
	}
	p, err := c.plan(ctx)
	if err != nil {
		return plan, err
	}
	plan.Would = p.describe()
	return plan, nil
}

// checkPeers compares the custodians that a gateway's file names with the
// committee. Too few to open anything, or one whom the committee does not have,
// is an error; fewer than the committee has, a warning: it runs, with less to
// spare than whoever dealt the shares had in mind.
func (c *GatewayConfig) checkPeers(path string, data []byte) ([]Problem, error) {
	committee, err := readCommittee(under(c.folder, c.Committee))
	if err != nil {
		return nil, err
	}
	d := decode(path, data, &GatewayConfig{})
	for i, p := range c.Peers {
		if p.Index > committee.N {
			d.problem(fmt.Sprintf("custodians[%d].index", i), "is %d, and the committee has %d custodians", p.Index, committee.N)
		}
	}
	if n := len(c.Peers); n < committee.K {
		d.problem("custodians", "names %d of the committee's %d, and %d are needed to open anything", n, committee.N, committee.K)
	} else if err := d.err(); err == nil && n < committee.N {
		d.problem("custodians", "names %d of the committee's %d: with %d out of reach nothing opens", n, committee.N, n-committee.K+1)
		return d.problems, nil
	}
	return nil, d.err()
}

// roleOf says of which role a configuration is.
func roleOf(path string, data []byte) (string, error) {
	c := &GatewayConfig{}
	d := decode(path, data, c)
	if !d.legible() {
		return "", d.err()
	}
	d.problems = nil // what a gateway does not know may be a custodian's
	switch c.Role {
	case roleGateway, roleCustodian:
		return c.Role, nil
	case "":
		d.problem("role", "is missing; roles are %s and %s", roleGateway, roleCustodian)
	default:
		d.problem("role", "is %q; roles are %s and %s", c.Role, roleGateway, roleCustodian)
	}
	return "", d.err()
}

// An UpstreamReport is what a FHIR server says of itself.
type UpstreamReport struct {
	Software    string   `json:"software"`
	FHIRVersion string   `json:"fhirVersion"`
	Types       []string `json:"types"`   // resource types that can be kept there
	Lacking     []string `json:"lacking"` // what a gateway needs and the server does not declare
}

// CheckUpstream asks a FHIR server for its CapabilityStatement, and whether it
// can keep sealed records: R4, and for each type reading, searching, writing
// under ids that the gateway chooses, and versions to write against. A server
// that lacks something for every type is an error; types it does not know are
// left out.
func CheckUpstream(ctx context.Context, base string) (*UpstreamReport, error) {
	c, err := client.New(client.Config{Base: base})
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	defer c.Close()
	statement, err := c.Capabilities(ctx)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	report := readCapabilities(statement.Tree())
	if !strings.HasPrefix(report.FHIRVersion, "4.0") {
		return report, fmt.Errorf("upstream speaks FHIR %s; want 4.0 (R4)", report.FHIRVersion)
	}
	if len(report.Types) == 0 {
		return report, fmt.Errorf("upstream can keep no type of resource: it lacks %s", strings.Join(report.Lacking, ", "))
	}
	return report, nil
}

func readCapabilities(tree map[string]any) *UpstreamReport {
	software, _ := tree["software"].(map[string]any)
	report := &UpstreamReport{
		Software:    strings.TrimSpace(text(software, "name") + " " + text(software, "version")),
		FHIRVersion: text(tree, "fhirVersion"), Types: []string{}, Lacking: []string{},
	}
	for _, rest := range objects(tree["rest"]) {
		for _, resource := range objects(rest["resource"]) {
			lacking := lackingOf(resource)
			if len(lacking) == 0 {
				report.Types = append(report.Types, text(resource, "type"))
			}
			report.Lacking = lo.Union(report.Lacking, lacking)
		}
	}
	slices.Sort(report.Types)
	slices.Sort(report.Lacking)
	return report
}

// lackingOf names what a server does not declare for one type.
func lackingOf(resource map[string]any) []string {
	has := lo.Map(objects(resource["interaction"]), func(i map[string]any, _ int) string { return text(i, "code") })
	lacking := lo.Without([]string{"read", "search-type", "update", "delete"}, has...)
	if create, stated := resource["updateCreate"].(bool); stated && !create {
		lacking = append(lacking, "update-create")
	}
	if text(resource, "versioning") == "no-version" {
		lacking = append(lacking, "versions")
	}
	return lacking
}

func text(tree map[string]any, name string) string {
	s, _ := tree[name].(string)
	return s
}

func objects(list any) []map[string]any {
	all, _ := list.([]any)
	return lo.FilterMap(all, func(x any, _ int) (map[string]any, bool) {
		m, ok := x.(map[string]any)
		return m, ok
	})
}
