package gateway_test

import (
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/samber/lo"
)

const module = "github.com/wardkey/wardkey"

// order is the order of a request, and so of the folders: a package imports only
// from folders at or before its own. What decides must not lean on what serves,
// or neither can be tested, replayed or moved to a custodian without the other.
var order = []string{"fhir", "policy", "chain", "records", "gateway"}

// A source is one Go file of the module, with what it imports.
type source struct {
	file    string // slash-separated, from the module's root
	pkg     string // its folder
	test    bool
	imports []string
}

// sources reads the import clauses of every Go file of this module. Nested
// modules are other people's judges, and answer for themselves.
func sources(t *testing.T) []source {
	t.Helper()
	const root = ".."
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(lo.Must(filepath.Rel(root, name)))
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		// Generators are programs of their own, with a build tag that says so.
		if built, err := build.Default.MatchFile(filepath.Dir(name), d.Name()); err != nil || !built {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{file: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go")}
		for _, i := range parsed.Imports {
			s.imports = append(s.imports, lo.Must(strconv.Unquote(i.Path.Value)))
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no Go files found: the test looks in the wrong place")
	}
	return all
}

// own cuts the module's path off, if the import is one of ours.
func own(imported string) (folder string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

func top(folder string) string {
	first, _, _ := strings.Cut(folder, "/")
	return first
}

// reach is every package, ours or not, that a package reaches through the
// module's own packages. Tests do not count: they may stand up a whole hospital.
func reach(all []source, from string) map[string]bool {
	direct := map[string][]string{}
	for _, s := range all {
		if !s.test {
			direct[s.pkg] = append(direct[s.pkg], s.imports...)
		}
	}
	seen := map[string]bool{}
	var visit func(string)
	visit = func(folder string) {
		for _, imported := range direct[folder] {
			if seen[imported] {
				continue
			}
			seen[imported] = true
			if folder, ok := own(imported); ok {
				visit(folder)
			}
		}
	}
	visit(from)
	return seen
}

func TestEveryFolderHasItsPlaceInTheOrderOfARequest(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if !slices.Contains(order, top(s.pkg)) {
			t.Errorf("%s: a new top-level folder; it belongs under one of %v", s.file, order)
		}
	}
}

func TestImportsFollowTheOrderOfARequest(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		mine := slices.Index(order, top(s.pkg))
		for _, imported := range s.imports {
			folder, ok := own(imported)
			if !ok {
				continue
			}
			theirs := slices.Index(order, top(folder))
			if theirs < 0 || theirs > mine {
				// Tests of a custodian or of a store may not borrow the gateway either:
				// what they prove must hold without it.
				t.Errorf("%s imports %s: %s comes before %s in a request", s.file, imported, top(s.pkg), top(folder))
			}
		}
	}
}

func TestWhatDecidesNeitherListensNorOpensFiles(t *testing.T) {
	t.Parallel()
	all := sources(t)
	for pkg, reason := range map[string]string{
		"fhir":              "parsing is a function of bytes, fuzzed without a network",
		"policy":            "a decision is replayed years later on another machine and must come out the same",
		"chain":             "the log's rules hold whatever carries and stores it",
		"records":           "sealing and opening take bytes and give bytes",
		"records/threshold": "mathematics that reads files could leave key material in them",
	} {
		t.Run(pkg, func(t *testing.T) {
			reached := reach(all, pkg)
			for _, banned := range []string{"net/http", "os"} {
				if reached[banned] {
					t.Errorf("%s reaches %s: %s", pkg, banned, reason)
				}
			}
		})
	}
}

func TestACustodianDoesNotKnowTheGateway(t *testing.T) {
	t.Parallel()
	// A custodian judges what the gateway asks for. Code that both ran would be
	// wrong on both sides at once.
	for imported := range reach(sources(t), "records/custodian") {
		if folder, ok := own(imported); ok && top(folder) == "gateway" {
			t.Errorf("records/custodian reaches %s", imported)
		}
	}
}

func TestJudgesStayInTests(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for prefix, reason := range map[string]string{
			"github.com/cloudflare/circl":          "its group is documented as not constant-time",
			"pgregory.net/rapid":                   "it generates test cases",
			"github.com/rogpeppe/go-internal":      "it runs test scripts",
			"net/http/httptest":                    "it serves tests",
			"testing":                              "binaries carry no test flags",
			"github.com/hashicorp/vault/sdk":       "the Vault server is a peer in tests, under its own licence",
			"github.com/smartcontractkit/tdh2":     "it is the other side of an interoperability test",
			"github.com/transparency-dev/tessera":  "it judges our log from a module of its own",
			"github.com/open-policy-agent/opa/sdk": "it phones home for bundles; the engine is embedded through rego",
		} {
			for _, imported := range s.imports {
				if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
					if isTestHelper(s.pkg) {
						continue
					}
					t.Errorf("%s imports %s outside a test: %s", s.file, imported, reason)
				}
			}
		}
	}
}

// isTestHelper is true of the packages of fakes, by their names: fhirtest,
// chaintest, recordstest.
func isTestHelper(pkg string) bool { return strings.HasSuffix(path.Base(pkg), "test") }
