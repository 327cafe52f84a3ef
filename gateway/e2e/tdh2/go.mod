// The module's path, unlike its place, lies below records/threshold: only so may
// it import the arithmetic itself, records/threshold/internal/tdh2, and run the
// very code that runs in production against another implementation of the scheme.
// It lives here with the other judges, and nothing imports it.
module github.com/wardkey/wardkey/records/threshold/interop

go 1.26.0

require (
	github.com/smartcontractkit/tdh2/go/tdh2 v0.0.0-20250624150019-e49f7e125e6b
	github.com/wardkey/wardkey v0.0.0
)

replace github.com/wardkey/wardkey => ../../..
