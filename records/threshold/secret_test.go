package threshold_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/goccy/go-yaml"

	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

func TestSecretsDoNotPrint(t *testing.T) {
	committee, shares, err := dkg.Deal("test", 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	ct, err := committee.Encrypt([32]byte{1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	partials, _, err := shares[0].Release([]threshold.Ciphertext{ct}, nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := shares[0].Secret()
	secret = secret[len(secret)-32:]

	share, partial := shares[0], partials[0]
	for what, value := range map[string]any{
		"share":            share,
		"share itself":     *share,
		"share in a field": struct{ S *threshold.Share }{share},
		"share in a private field": struct {
			s *threshold.Share
			t threshold.Share
		}{share, *share},
		"shares":           shares,
		"partial":          partial,
		"partial behind":   &partial,
		"partial in a map": map[int]threshold.Partial{1: partial},
		"partials":         partials,
	} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		fmt.Fprintln(&out, value)
		if what == "share itself" { // of an array %p shows all there is, whatever its methods; vet reports that
			fmt.Fprintf(&out, "%p\n", any(*share))
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", value)
		asJSON, err := json.Marshal(value)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		asYAML, err := yaml.Marshal(value)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		out.Write(asJSON)
		out.Write(asYAML)
		if _, isShare := value.(*threshold.Share); isShare {
			asCBOR, err := cbor.Marshal(value)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			out.Write(asCBOR)
		}
		for form, leak := range map[string]string{"share": string(secret), "partial": string(partial[:])} {
			inHex := hex.EncodeToString([]byte(leak))
			numbers := strings.Trim(fmt.Sprintf("%v", []byte(leak)), "[]")
			inGo := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(leak)), "[]byte{"), "}")
			for _, s := range []string{leak, inHex, strings.ToUpper(inHex), numbers, strings.ReplaceAll(numbers, " ", ","), inGo} {
				if strings.Contains(out.String(), s) {
					t.Errorf("%s prints the %s: %q", what, form, s)
				}
			}
		}
	}
}
