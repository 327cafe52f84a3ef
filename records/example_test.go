package records_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/records"
	"github.com/wardkey/wardkey/records/dkg"
)

// A writer needs no secret but the attribute key: it seals, and cannot open.
func ExampleSealer_Seal() {
	committee, _, err := dkg.Deal("custodians-2026", 4, 3, 1)
	if err != nil {
		log.Fatal(err)
	}
	attributes, err := records.NewAttributeKey()
	if err != nil {
		log.Fatal(err)
	}
	sealer, err := records.NewSealer(records.SealerConfig{Tenant: "hospital.example", Committee: committee, Attributes: attributes})
	if err != nil {
		log.Fatal(err)
	}
	heartRate, err := fhir.Parse([]byte(`{"resourceType":"Observation","id":"o1","status":"final",
		"code":{"text":"Heart rate"},"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":72}}`), fhir.Limits{})
	if err != nil {
		log.Fatal(err)
	}

	envelope, err := sealer.Seal(heartRate, policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "N"}, 1)
	if err != nil {
		log.Fatal(err)
	}
	skeleton, err := records.Skeleton(heartRate, envelope) // what the store keeps
	if err != nil {
		log.Fatal(err)
	}
	again, err := records.FromSkeleton(skeleton)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Label.Ref(), "of", again.Label.Compartment, "opens with", again.Tree)
	fmt.Println(again.Digest() == envelope.Digest())
	// Output:
	// Observation/o1 of Patient/p1 opens with 3 of custodians
	// true
}

func ExampleParseTree() {
	tree, err := records.ParseTree("(patient OR 2 of trustees) AND 3 of custodians")
	fmt.Println(tree, err)

	_, err = records.ParseTree("patient OR 2 of trustees AND 3 of custodians")
	if unclear, ok := errors.AsType[*records.TreeError](err); ok {
		fmt.Printf("byte %d: %s\n", unclear.Offset, unclear.Reason)
	}
	// Output:
	// (patient OR 2 of trustees) AND 3 of custodians <nil>
	// byte 25: AND and OR mixed without parentheses
}
