// Package threshold encrypts 32 bytes, the share of a record's key, to a
// committee of n custodians of whom any k can decrypt and fewer cannot. It is
// TDH2 of Shoup and Gennaro ("Securing Threshold Cryptosystems against Chosen
// Ciphertext Attack", J. Cryptology 15, 2002, §4) over ristretto255 (RFC 9496),
// with SHA-512 throughout: suite 1.
//
// # How it works
//
// The group has prime order and is written additively; B generates it, and Ḡ is a
// second generator whose logarithm nobody knows, since it comes out of a hash. The
// secret key is a number x that nobody holds: custodian i has x_i, the value at i
// of a polynomial with k coefficients whose value at 0 is x. Public are X = xB
// and all X_i = x_iB: the [Committee].
//
// To encrypt m under a public label L, [Committee.Encrypt] draws r and s, makes
//
//	u = rB   ū = rḠ   w = sB   w̄ = sḠ
//	c = m ⊕ KDF(rX, u, L)
//	e = H(X, c, L, u, w, ū, w̄)   f = s + re
//
// and stores (c, u, ū, w, w̄, f), the [Ciphertext]. As in the simpler ElGamal, only
// who knows r or x can make rX = xu. What TDH2 adds is a proof that the writer
// knew r and meant L: fB = w + eu and fḠ = w̄ + eū, which [Committee.Verify]
// checks. Without it, whoever is refused a ciphertext could submit a disguise of
// it, or the same under a label that he may open.
//
// A custodian that is willing multiplies: x_iu is its [Partial]. With k of them,
// [Committee.Combine] interpolates rX = xu at 0, and takes the pad off c. With
// [Share.Release] comes a [Proof] that x_iu has the logarithm of X_i, in the form
// of RFC 9497 §2.2, one for a whole batch: the batch is folded with hashed weights
// into a single pair of points, and the proof is about that pair.
// [Committee.VerifyPartials] checks it, and names the custodian that lied. It is
// asked only when a combined message proves wrong, which is all but never.
//
// # Beginning
//
// Committee and shares come from a ceremony; package dkg has a dealer for
// demonstrations. A writer needs the committee; a custodian, the committee and
// its [Share]; a reader, the committee and k answers. See the examples.
//
// # What is promised
//
// Fewer than k custodians learn nothing of a message, provided the decisional
// Diffie–Hellman assumption in ristretto255 and hashes like random oracles; nor do
// they with the answers to any other ciphertexts that verify (chosen-ciphertext
// security), for custodians corrupted from the start. A ciphertext opens under its
// own label and committee alone. A false answer is told from a true one, and laid
// at the right door.
//
// What is secret is computed in constant time, as far as ristretto255 and its
// field arithmetic are, and Go allows; whatever is called VarTime sees public
// values, or hashes. Decoders take one encoding for each value: no
// unreduced scalars or points, no identity, nothing before or after. Secrets
// print as "[redacted]" and are overwritten when done with, although Go's runtime
// may have copied them elsewhere before.
//
// Random numbers that come twice, as in a virtual machine that is rolled back,
// reveal nothing: the nonces of encryption are hashed together with message and
// label, those of proofs with the share and the statement.
//
// # What is not claimed
//
// k custodians that conspire decrypt silently. Answers once given cannot be taken
// back. There is no security against custodians corrupted one after another as the
// attacker pleases, nor against a quantum computer, which finds x from X. Nothing
// here hides how many bytes, custodians or ciphertexts there are.
//
// What follows departs from the paper, is thought harmless for the reason given,
// and waits for a review by somebody who has not written it:
//
//   - The pad is hashed from u and the label as well as from rX (the paper: rX). More
//     input to a random oracle only takes away relations between ciphertexts.
//   - The challenge is hashed from the public key, too, and every hash is tagged
//     with suite and committee id, so that committees cannot be played off.
//   - A ciphertext carries w and w̄, from which e follows, in the place of e, from
//     which they follow. Either form verifies where the other does; this one
//     verifies in batches, with random weights of 128 bits (Bellare, Garay and
//     Rabin, EUROCRYPT 1998), hence false ones pass with probability 2⁻¹²⁸.
//   - Ḡ is hashed from suite and committee id and not drawn in a ceremony.
//   - One proof covers a batch of partial decryptions, bound to a context (RFC
//     9497); the paper has one each. So it is the custodian that is named, and
//     not its item.
//   - Partial decryptions are combined before they are checked. The caller must
//     hold the message against a commitment; what does not match is thrown away.
//
// # What it leaves to others
//
// Who may have what opened, in which order and by when, is decided by the
// custodian before it calls Release. Secrecy of partial decryptions under way is
// the caller's: k of them are as good as the message. Making, refreshing and
// handing over shares belongs to package dkg, keeping them to package keystore.
// Sealing whole records, for which the 32 bytes are a key, belongs to package
// records.
package threshold
