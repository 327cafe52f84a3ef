package threshold_test

import (
	"fmt"
	"log"

	"github.com/wardkey/wardkey/records/dkg"
	"github.com/wardkey/wardkey/records/threshold"
)

// Three of four custodians open what was sealed to them all.
func Example() {
	committee, shares, err := dkg.Deal("example", 4, 3, 1)
	if err != nil {
		log.Fatal(err)
	}

	// A writer, who has no secret.
	key := [32]byte([]byte("this would be a record's key ..."))
	label := []byte("Observation/7, revision 1")
	ct, err := committee.Encrypt(key, label)
	if err != nil {
		log.Fatal(err)
	}

	// Three custodians, each by itself.
	batch, context := []threshold.Ciphertext{ct}, []byte("round 1")
	partials := make(map[int]threshold.Partial)
	for _, share := range shares[:3] {
		if err := committee.Verify(batch, [][]byte{label}); err != nil {
			log.Fatal(err)
		}
		released, proof, err := share.Release(batch, context)
		if err != nil {
			log.Fatal(err)
		}
		// The reader would check this only if what comes out is wrong.
		if err := committee.VerifyPartials(share.Index(), batch, released, proof, context); err != nil {
			log.Fatal(err)
		}
		partials[share.Index()] = released[0]
	}

	// A reader.
	opened, err := committee.Combine(ct, label, partials)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", opened)
	// Output: this would be a record's key ...
}

// A ciphertext does not verify under a label that it was not made for.
func ExampleCommittee_Verify() {
	committee, _, err := dkg.Deal("example", 4, 3, 1)
	if err != nil {
		log.Fatal(err)
	}
	ct, err := committee.Encrypt([32]byte{}, []byte("Patient/7"))
	if err != nil {
		log.Fatal(err)
	}
	batch := []threshold.Ciphertext{ct, ct}
	fmt.Println(committee.Verify(batch, [][]byte{[]byte("Patient/7"), []byte("Patient/8")}))
	// Output: ciphertext 1: made for another label or committee, or altered
}
