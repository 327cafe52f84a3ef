// Package e2e holds the whole-system tests: the real binary, its processes on
// real sockets, killed, restarted and audited, asked by callers who know nothing
// but what demo.json says.
//
// The folders below it are modules of their own: other people's judges, which
// have no place among this module's dependencies.
package e2e
