// Package vault tests the key store against a real HashiCorp Vault, built from
// its published source in the module beside it and run with TLS and storage on
// disk. Building takes minutes the first time, so the test runs only where
// WARDKEY_E2E_VAULT=1, and should be given -timeout=30m then.
package vault
