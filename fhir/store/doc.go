// Package store is a small FHIR R4 server on SQLite, for a Wardkey that has no store
// to stand in front of, and for tests that want one quickly.
//
// Begin with [Open] and serve [Store.Handler]; it answers everything under /fhir. It
// knows create, read, vread, update (which creates under the client's id, and
// honours If-Match), delete, the history of one resource, and search by token,
// reference, date and string parameters with GET and POST, in JSON, and its
// CapabilityStatement says so. Every error is an OperationOutcome. What it does not
// know it refuses: a parameter or precondition that was ignored would be an answer
// to another question.
//
// A write is on disk, and synced, before it is answered. Writes that come together
// are committed together, so that sixteen clients do not wait for sixteen syncs.
// SQLite's write-ahead log makes a killed process lose nothing that it has
// answered. Versions are never removed; a deleted resource keeps its history.
//
// Search is decided by fhir.Match; the tables only spare it candidates.
//
// It leaves to others: who may ask (it believes everybody, so it belongs behind a
// gateway or on loopback), TLS, validation against profiles, referential integrity,
// XML, batches and conditional interactions.
package store
