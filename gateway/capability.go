package gateway

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// metadata answers GET /metadata, without a token: what works here, per type and
// parameter, and nothing that does not.
func (g *Gateway) metadata(c echo.Context) error {
	query, err := parseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return g.fail(c, nil, err)
	}
	if !acceptable(c.Request().Header, query) {
		return g.fail(c, nil, refuse(badAccept, nil))
	}
	if err := only(query, "_format", "mode"); err != nil {
		return g.fail(c, nil, err)
	}
	if mode, stated := query["mode"]; stated && !slices.Equal(mode, []string{"full"}) {
		return g.fail(c, nil, unknownParameter("mode"))
	}
	if _, err := g.readBody(c, noBody); err != nil {
		return g.fail(c, nil, err)
	}
	r, err := g.capabilities()
	if err != nil {
		return g.fail(c, nil, refuse(internal, err))
	}
	return writeJSON(c, http.StatusOK, mediaFHIR+"; charset=utf-8", r.JSON())
}

// capabilities is the CapabilityStatement. It does not change while the gateway
// runs; it is made when asked for, which is seldom.
func (g *Gateway) capabilities() (*fhir.Resource, error) {
	resources := []any{}
	for _, typ := range slices.Sorted(maps.Keys(g.c.Modes)) {
		resources = append(resources, g.capability(typ))
	}
	return fhir.New(map[string]any{
		"resourceType": "CapabilityStatement",
		"status":       "active",
		"date":         fhir.FormatInstant(g.started),
		"kind":         "instance",
		"fhirVersion":  "4.0.1",
		"format":       []any{mediaFHIR, "json"},
		"software":     map[string]any{"name": "Wardkey"},
		"implementation": map[string]any{
			"description": "FHIR R4 over records under threshold encryption. Every access is logged before it takes place.",
			"url":         g.c.Base,
		},
		"rest": []any{map[string]any{
			"mode":          "server",
			"documentation": "What is denied and what does not exist are answered alike. _count is at most what a page holds. Unknown parameters are refused.",
			"security": map[string]any{
				"cors": false,
				"service": []any{map[string]any{
					"coding": []any{map[string]any{"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}},
				}},
				"extension": []any{map[string]any{
					"url":       "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
					"extension": []any{map[string]any{"url": "token", "valueUri": g.tokenURL()}},
				}},
			},
			"resource":    resources,
			"interaction": []any{map[string]any{"code": "batch"}},
		}},
	})
}

// capability is what works on one type.
func (g *Gateway) capability(typ string) map[string]any {
	interactions := []string{interactionRead, interactionVRead, interactionHistory, interactionSearch, interactionCreate, interactionUpdate, interactionDelete}
	params := lo.FilterMap(fhir.Params(typ), func(p fhir.Param, _ int) (any, bool) {
		return map[string]any{"name": p.Name, "type": p.Type}, g.searchable(typ, p.Name)
	})
	return map[string]any{
		"type":              typ,
		"versioning":        "versioned-update",
		"readHistory":       true,
		"updateCreate":      true,
		"conditionalCreate": false,
		"conditionalUpdate": false,
		"conditionalDelete": "not-supported",
		"referencePolicy":   []any{"literal"},
		"interaction":       lo.Map(interactions, func(code string, _ int) any { return map[string]any{"code": code} }),
		"searchParam":       params,
		"documentation": lo.Ternary(g.c.Modes[typ] == Seal,
			"Sealed: decided on, logged, opened by custodians.", "In clear: scope-checked and logged."),
	}
}

// searchable tells whether a parameter works on a type.
func (g *Gateway) searchable(typ, param string) bool {
	if g.c.Modes[typ] == Observe {
		return true
	}
	return answers(typ, param) != fieldNone || typ == "Patient" && lookupParam(param)
}

// tokenURL is where tokens are got: beside the FHIR base, on the same host.
func (g *Gateway) tokenURL() string { return g.origin() + "/oauth/token" }

func (g *Gateway) origin() string {
	return (&url.URL{Scheme: g.base.Scheme, Host: g.base.Host}).String()
}

// smartConfiguration answers /.well-known/smart-configuration: the backend
// services profile and the token exchange. There is no authorization endpoint
// to name yet, so none is named.
func (g *Gateway) smartConfiguration(c echo.Context) error {
	algorithms := lo.Uniq(lo.FlatMap(g.c.Trust.Clients, func(cl policy.Client, _ int) []string {
		if cl.Kind != policy.ClientSystem {
			return nil
		}
		if len(cl.Algorithms) == 0 {
			return []string{"RS384", "ES384"}
		}
		return cl.Algorithms
	}))
	scopes := lo.Uniq(lo.FlatMap(g.c.Trust.Clients, func(cl policy.Client, _ int) []string { return cl.Scopes }))
	slices.Sort(algorithms)
	slices.Sort(scopes)
	return writeObject(c, http.StatusOK, map[string]any{
		"token_endpoint":      g.tokenURL(),
		"revocation_endpoint": strings.TrimSuffix(g.tokenURL(), "token") + "revoke",
		"grant_types_supported": []string{
			grantClientCredentials, grantTokenExchange,
		},
		"token_endpoint_auth_methods_supported":            []string{"private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": algorithms,
		"scopes_supported":                                 scopes,
		"code_challenge_methods_supported":                 []string{"S256"},
		"capabilities":                                     []string{"client-confidential-asymmetric", "permission-v1", "permission-v2"},
	})
}
