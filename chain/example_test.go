package chain_test

import (
	"context"
	"crypto/rand"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/wardkey/wardkey/chain"
	"github.com/wardkey/wardkey/chain/chaintest"
)

// A log is opened, an access is entered, and a custodian takes it over and
// vouches for it.
func Example() {
	ctx := context.Background()
	skey, vkey, _ := note.GenerateKey(rand.Reader, "hospital.example/log")
	signer, _ := note.NewSigner(skey)

	log, err := chain.Open(ctx, chain.Config{
		Store:  chaintest.NewStore(), // disk.Open, for a log that lasts
		Signer: signer, Origin: "hospital.example/log", Key: vkey,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()

	receipts, err := log.Append(ctx, chain.Entry{Kind: chain.Access, Actor: "Practitioner/7", Patient: "Patient/a", Action: "read"})
	if err != nil {
		fmt.Println(err) // nothing may be disclosed
		return
	}
	fmt.Println("entry", receipts[0].Index)

	verifier, _ := note.NewVerifier(vkey)
	custodian, err := chain.OpenReplica(ctx, chain.ReplicaConfig{Store: chaintest.NewStore(), Verifier: verifier})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer custodian.Close()
	batch, err := log.Batch(ctx, custodian.Size(), 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := custodian.Extend(ctx, log.Keys(custodian.KeyCount()), custodian.KeyCount(), batch); err != nil {
		fmt.Println(err)
		return
	}
	body, err := custodian.Body(ctx, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(body.Kind, "by", body.Actor, "is number", body.Seq, "about", body.Patient)
	fmt.Println("same tree:", custodian.Root() == log.Root())
	// Output:
	// entry 1
	// access by Practitioner/7 is number 1 about Patient/a
	// same tree: true
}
