// Package fhir holds what Wardkey knows of FHIR R4 without a network: resources
// as strict JSON, ids and references, the patient compartment, search
// parameters and their one evaluator, bundles and outcomes.
//
// Begin with [Parse], which takes the bytes of one resource and gives an
// immutable [Resource], or with [New], which takes a tree of Go values. [Owner]
// says whose record a resource is. [ParseQuery] turns the parameters of a search
// into a [Query] that [Match] decides on, resource by resource; whoever narrows
// candidates beforehand (an SQL store, a blind index) asks [Values] for what to
// put into its columns and still leaves the verdict to Match, so that there is
// one opinion on what a search means.
//
// Parsing is strict where two parsers might otherwise read two different
// resources from the same bytes: duplicate names, trailing data, invalid UTF-8
// and their relatives are refused. It is not validation. Whether a resource
// obeys its profile, whether a code is in its value set and whether a reference
// points at something that exists is left to the store behind; XML and the other
// versions of FHIR are left out altogether.
package fhir
