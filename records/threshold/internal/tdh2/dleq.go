package tdh2

// Transcript is the hashing of a proof of equal logarithms. An implementation
// holds the context that the proof is bound to.
type Transcript[S, P any] interface {
	// Weights are the dᵢ that fold a batch into one statement.
	Weights(public *P, c, d []*P) []*S
	// Challenge is the proof's challenge.
	Challenge(public, m, z, t2, t3 *P) *S
}

// Prove shows that dᵢ = k·cᵢ for all i with the k of public = k·B, in the form
// of RFC 9497 §2.2.1, and answers with challenge and response. The nonce is made
// last, from the statement: a secret scalar, never the same for two statements.
//
// What runs in variable time sees the weights alone. They are hashes over dᵢ that
// are not public, but tell no more of them than a hash does.
func Prove[S, P any](g Group[S, P], t Transcript[S, P], k *S, public *P, c, d []*P, nonce func(m, z *P) *S) (challenge, response *S) {
	m := g.VarTimeMulSum(t.Weights(public, c, d), c)
	z := g.Mul(k, m)
	r := nonce(m, z)
	challenge = t.Challenge(public, m, z, g.BaseMul(r), g.Mul(r, m))
	return challenge, g.MulAdd(g.Negate(challenge), k, r)
}

// VerifyProof checks what [Prove] answered: RFC 9497 §2.2.2.
func VerifyProof[S, P any](g Group[S, P], t Transcript[S, P], public *P, c, d []*P, challenge, response *S) bool {
	weights := t.Weights(public, c, d)
	m := g.VarTimeMulSum(weights, c)
	z := g.VarTimeMulSum(weights, d)
	t2 := g.VarTimeBaseMulSum(challenge, public, response)
	t3 := g.VarTimeMulSum([]*S{response, challenge}, []*P{m, z})
	return g.ScalarEqual(challenge, t.Challenge(public, m, z, t2, t3))
}
