// Package gateway is the way in: FHIR R4 over HTTP in front of a store that
// holds sealed records.
//
// It promises that nothing is opened before its entry, permit or deny, is in the
// log; that nothing is answered when the log cannot be written; that what is
// denied and what does not exist are answered by the same bytes; and that a
// write is either there as a whole, with its entry, or closed by a second entry
// that says it did not happen. Begin with [New]; serve [Gateway.Handler] and, on
// another listener, [Gateway.AdminHandler].
//
// A request runs straight through: its target is checked before routing
// (path.go), the session, purpose and scope before anything is looked up
// (call.go); the index names the candidates; policy decides on their attributes;
// one entry a patient goes into the log; the custodians open (disclose.go).
// Every error becomes HTTP in one table (outcome.go).
//
// Whoever has a session leaves an entry with every request that is understood,
// refused ones for want of scope or purpose included. Requests without a valid
// token, and malformed ones, leave none: otherwise anybody could fill the log.
//
// It leaves to others: who is signed in (smart), what may be seen (policy), the
// custodians' own decision on every single release (records/custodian), TLS and
// listeners (node). Not here: transactions, conditional operations, patch,
// operations such as $everything, type and system history, XML, break-glass, and
// search by what the sealed attributes do not answer. These are refused by name.
package gateway
