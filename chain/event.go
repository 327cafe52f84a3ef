package chain

import "github.com/wardkey/wardkey/policy"

// Event is what package policy makes its state of.
func (b *Body) Event(index uint64) policy.Event {
	return policy.Event{
		Index:     index,
		At:        b.At(),
		Kind:      string(b.Kind),
		Actor:     b.Actor,
		Patient:   b.Patient,
		SignIn:    b.SignIn,
		Statement: b.Statement,
	}
}
