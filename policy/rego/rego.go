// Package rego holds the rules of policy as text, to be compiled there and read
// by everybody.
package rego

import "embed"

// Files are the rules, *.rego, and capabilities.txt: the built-in functions
// they may call, one a line.
//
//go:embed *.rego capabilities.txt
var Files embed.FS
