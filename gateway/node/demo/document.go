package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/samber/lo"
)

// documentFile is what the outside finds everything by.
const documentFile = "demo.json"

// A Document is demo.json: where everything is and as whom one may try it. What
// is not built yet is null.
type Document struct {
	FHIR       string  `json:"fhir"`  // base of the gateway's FHIR API
	SMART      *string `json:"smart"` // SMART configuration
	Chain      string  `json:"chain"` // tlog-tiles of the access log
	PatientApp *string `json:"patientApp"`
	Auditor    *string `json:"auditor"`
	Admin      string  `json:"admin"` // admin listener of the gateway
	Log        string  `json:"log"`   // folder of the sequencer's log
	IDP        string  `json:"idp"`   // issuer
	Upstream   string  `json:"upstream"`

	Custodians []CustodianEntry `json:"custodians"`
	Tokens     ByCaller         `json:"tokens"` // bearer tokens, good for an hour
	Keys       Seeds            `json:"keys"`
	Refs       ByCaller         `json:"refs"` // who they are: "Practitioner/…", "Patient/…"
	Patients   PatientIDs       `json:"patients"`
	Dir        string           `json:"dir"`
}

// A CustodianEntry is one custodian of the demonstration.
type CustodianEntry struct {
	URL    string `json:"url"`
	Config string `json:"config"` // its configuration file
}

// ByCaller is a text for each of the demonstration's callers.
type ByCaller struct {
	Doctor       string `json:"doctor"`
	Nurse        string `json:"nurse"`
	SecondDoctor string `json:"second-doctor"`
	Patient      string `json:"patient"`
	PatientB     string `json:"patient-b"`
	Auditor      string `json:"auditor"`
	Outsider     string `json:"outsider"`
	Loader       string `json:"loader"`
	Admin        string `json:"admin"`
}

// Seeds are Ed25519 seeds in base64url without padding.
type Seeds struct {
	Patient      string   `json:"patient"`
	PatientB     string   `json:"patient-b"`
	Doctor       string   `json:"doctor"`
	Nurse        string   `json:"nurse"`
	SecondDoctor string   `json:"second-doctor"`
	ADT          string   `json:"adt"`
	Registrar    string   `json:"registrar"`
	Governance   []string `json:"governance"`
}

// PatientIDs are the ids of the two patients that the story leaves alone.
type PatientIDs struct {
	A string `json:"a"`
	B string `json:"b"`
}

// Document signs everybody in afresh and says what demo.json would.
func (h *Hospital) Document(ctx context.Context) (Document, error) {
	tokens, err := h.signInAll(ctx, h.caller())
	if err != nil {
		return Document{}, err
	}
	people := h.pocket.People
	key := func(login string) string { return base64url(people[login].Seed) }
	ref := func(login string) string { return people[login].Ref }
	doc := Document{
		FHIR: h.base() + "/fhir", Chain: h.base() + "/chain", Admin: h.adminURL(), Log: h.logDir(),
		IDP: h.issuer(), Upstream: h.upstream(), Dir: h.dir,
		Tokens: ByCaller{
			Doctor: tokens[doctor], Nurse: tokens[nurse], SecondDoctor: tokens[secondDoctor],
			Patient: tokens[patientA], PatientB: tokens[patientB], Auditor: tokens[auditor],
			Outsider: tokens[outsider], Loader: tokens[loader], Admin: tokens[admin],
		},
		Keys: Seeds{
			Patient: key(patientA), PatientB: key(patientB), Doctor: key(doctor), Nurse: key(nurse), SecondDoctor: key(secondDoctor),
			ADT: base64url(h.pocket.ADT), Registrar: base64url(h.pocket.Registrar),
			Governance: lo.Map(h.pocket.Governance, func(s []byte, _ int) string { return base64url(s) }),
		},
		Refs: ByCaller{
			Doctor: ref(doctor), Nurse: ref(nurse), SecondDoctor: ref(secondDoctor), Patient: ref(patientA), PatientB: ref(patientB),
			Auditor: ref(auditor), Outsider: ref(outsider), Loader: "Client/" + loader, Admin: ref(admin),
		},
		Patients: PatientIDs{A: people[patientA].id(), B: people[patientB].id()},
	}
	for place, c := range h.site.custodians {
		doc.Custodians = append(doc.Custodians, CustodianEntry{URL: localhost("https", c.Listen), Config: h.custodianPath(place)})
	}
	return doc, nil
}

// write replaces demo.json in dir at once: a reader sees the old or the new one.
// Tokens and keys are in it, so nobody else may read it.
func (d Document) write(dir string) error {
	return writeJSON(filepath.Join(dir, documentFile), d)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return replace(path, append(data, '\n'), 0o600)
}

// replace writes a file beside path and renames it over it.
func replace(path string, data []byte, mode os.FileMode) error {
	var b [6]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not fail
	beside := path + "." + hex.EncodeToString(b[:])
	if err := os.WriteFile(beside, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(beside, path); err != nil {
		_ = os.Remove(beside) // the failed rename is what is reported
		return fmt.Errorf("replace %s: %w", filepath.Base(path), err)
	}
	return nil
}
