// Package node runs one role of Wardkey from its configuration file.
//
// It promises that a file is read strictly and as a whole before anything is
// started: [LoadGateway] and [LoadCustodian] report every mistake with its line
// and column ([ConfigError]), and [StartGateway] and [StartCustodian] open the
// first listener only when every key, certificate, log and database that the
// file names has been opened. What they return is serving already; Close ends
// it in the order in which requests leave: listeners, then what is under way,
// then the log and the databases.
//
// Secrets (shares, signing, attribute and index keys, TLS keys) come from a
// keystore, files or HashiCorp Vault, never from the configuration file itself.
//
// It leaves to others what a role does (packages gateway, custodian, store) and
// how a directory comes to be: the demonstration makes its own (package demo),
// a hospital's operator writes the files by hand.
package node
