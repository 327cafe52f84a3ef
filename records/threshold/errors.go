package threshold

import (
	"errors"
	"fmt"
)

var (
	// ErrCommittee is returned for a committee whose numbers or keys do not
	// make sense, and for operations on one that was not made by
	// [NewCommittee] or read by [Committee.UnmarshalBinary].
	ErrCommittee = errors.New("invalid committee")

	// ErrShare is returned for a share that does not parse, has been
	// destroyed, or does not fit the committee it is offered to.
	ErrShare = errors.New("invalid share")

	// ErrTooFewPartials is returned by [Committee.Combine].
	ErrTooFewPartials = errors.New("too few partial decryptions")

	// ErrBatch is returned for a batch that is empty, longer than [MaxBatch],
	// or whose parts differ in number.
	ErrBatch = errors.New("invalid batch")
)

// InvalidError says which ciphertext of those given is not what it should be:
// badly encoded, made for another label or committee, or altered.
type InvalidError struct {
	Item   int // position in what was given, from 0
	Reason string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("ciphertext %d: %s", e.Item, e.Reason)
}

// CustodianError says which custodian's partial decryptions are wrong. With the
// answer that it signed, it is evidence.
type CustodianError struct {
	Index  int // of the custodian, from 1
	Reason string
}

func (e *CustodianError) Error() string {
	return fmt.Sprintf("partial decryption by custodian %d: %s", e.Index, e.Reason)
}
