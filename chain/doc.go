// Package chain is the transparency log that every access, grant and write is
// entered in before it takes effect.
//
// The log is append-only and its formats are those of C2SP, so that other
// people's tools read it: signed notes, tlog-checkpoint, tlog-cosignature and
// tlog-tiles. Three things set it apart. A leaf of the tree is a commitment of
// fixed size and nothing else, so a public mirror learns only how many entries
// there are. The body behind a leaf is encrypted under a key of its patient,
// so that one patient can be proven everything, shown nothing of another, and
// forgotten by erasing one key. And each patient's entries are numbered and
// point backwards, from key to key, so that a missing one is a gap, and one that
// was erased is known to have been there.
//
// Begin with [Open], which returns the [Log] that one process writes, and
// [OpenReplica], which returns the copy that a custodian follows it with. Both
// keep their records in a [Store]; package disk has the one for production. The
// order of bytes on the wire is fixed by [Body], [Record] and [Batch].
//
// # What it promises
//
// When [Log.Append] returns without an error, its entries are on stable
// storage, in the tree, under a signed checkpoint, and have been applied; when
// it returns an error, nobody sees them. Times never decrease, and do not follow
// a wall clock that jumps forward. A replica has recomputed the tree, opened
// every body, checked every patient's sequence and held the newest time against
// its own clock before it takes a batch over.
//
// # What it leaves to others
//
// Who may order an erasure is for nobody to say yet: custodians refuse them, see
// [ReplicaConfig]. Whether an entry's statement is valid is package policy's business; whether
// an entry suffices to open a record is the custodians'. Package audit judges a
// log from its files alone. Outside witnesses, time-stamp anchors, gossip
// between custodians, snapshots for a custodian that starts late, and
// attestations that a patient's sequence is complete are not here. The log
// loads its indexes by reading everything once at start.
package chain
