// Package records seals FHIR resources so that no single party can open them,
// and opens them through a quorum of custodians.
//
// A [Sealer] turns a resource into an [Envelope] with public keys alone: a
// fresh root secret ρ is encrypted to the committee of custodians under a
// [Label] that names the resource, its revision and its patient; ρ derives the
// one key that encrypts this one revision. [Skeleton] dresses the envelope as a
// valid FHIR resource that any R4 store keeps, [FromSkeleton] undresses it.
//
// A [Quorum] opens envelopes. [Quorum.Prepare] makes a request with a one-time
// reader key; its hash goes into a log entry; only then does [Quorum.Open] ask
// the custodians, each of which finds that entry on its own copy of the log and
// decides for itself. k good answers make ρ. There is no other way to open:
// no log, no key; no quorum, no key; past time, no key.
//
// The guarantees rest on fewer than k custodians colluding, on the decisional
// Diffie–Hellman assumption in ristretto255, and on nobody keeping ρ: a reader
// who was once given a record cannot be made to forget it.
//
// What it leaves to others: what a custodian checks (records/custodian), the
// mathematics (records/threshold), where keys live (records/keystore), finding
// records again (records/index), and whether to ask at all (policy). Suite 1
// knows one committee leaf a record; personal leaves, several committees,
// compartment keys (the ρ₂ of [Envelope.Shred]) and streamed attachments have
// their places in the formats and are refused until they are there.
package records
