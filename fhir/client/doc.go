// Package client speaks to a FHIR R4 store over HTTP: the embedded one, HAPI FHIR,
// or any other that keeps to the RESTful API.
//
// Begin with [New]. A [Client] reads, writes, deletes, lists histories and
// searches, always in JSON, and believes nothing it has not checked: an answer
// must be strict JSON of bounded size, of the type and id that were asked for, and
// come from the server that was asked. Servers' dialects end here: a stale
// If-Match is [ErrConflict] whether the server says 409 or 412, version ids are
// opaque text, and pages are followed to their end however short a server cuts
// them.
//
// Errors carry a status and codes, never a server's free text, since servers quote
// the record in it; see [RejectedError].
//
// It leaves to others: authentication to the store (give [Config] an http.Client
// whose transport adds it), retries of writes (only the caller knows whether a
// second attempt is safe), and the meaning of what it carries.
package client
