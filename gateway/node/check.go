package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir/client"
)

// A Plan is what a configuration would run.
type Plan struct {
	Role  string   // gateway or custodian; "" when the file does not say
	Would []string // what starting would do, in words
}

// Check reads a configuration of any role and everything that it names, and
// starts nothing. Mistakes in the file come as a [*ConfigError]; what is wrong
// with the files and keys it names as other errors.
func Check(ctx context.Context, path string) (Plan, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Plan{}, fmt.Errorf("read configuration: %w", err)
	}
	var peek struct {
		Role string `yaml:"role"`
	}
	// Only the role is wanted yet; whatever else is wrong is found below.
	if err := yaml.Unmarshal(data, &peek); err != nil {
		peek.Role = ""
	}
	switch peek.Role {
	case roleCustodian:
		c, err := LoadCustodian(path)
		if err != nil {
			return Plan{Role: roleCustodian}, err
		}
		p, err := c.plan(ctx)
		if err != nil {
			return Plan{Role: roleCustodian}, err
		}
		p.share.Destroy()
		return Plan{Role: roleCustodian, Would: p.describe()}, nil
	default:
		c, err := LoadGateway(path)
		if err != nil {
			return Plan{Role: peek.Role}, err
		}
		p, err := c.plan(ctx)
		if err != nil {
			return Plan{Role: roleGateway}, err
		}
		return Plan{Role: roleGateway, Would: p.describe()}, nil
	}
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
