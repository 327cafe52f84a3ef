// Command server is HashiCorp Vault, built from its published module so that
// the key store is tested against the very server it will meet.
//
// It is a peer for tests and never part of a release: Vault's licence (BUSL-1.1)
// is not ours to pass on.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
