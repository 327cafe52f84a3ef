package tdh2

// Lagrange gives the coefficients λᵢ with which the values of a polynomial at
// the given points, distinct numbers from 1 to 255, add up to its value at zero.
// The polynomial has no more coefficients than there are points.
func Lagrange[S, P any](g Group[S, P], at []int) []*S {
	coefficients := make([]*S, len(at))
	for i, xi := range at {
		coefficients[i] = g.Small(1)
		for j, xj := range at {
			if i != j {
				factor := g.ScalarMul(g.Small(uint64(xj)), inverseOfDifference(g, xj, xi))
				coefficients[i] = g.ScalarMul(coefficients[i], factor)
			}
		}
	}
	return coefficients
}

// inverseOfDifference is 1/(a−b).
func inverseOfDifference[S, P any](g Group[S, P], a, b int) *S {
	if a < b {
		return g.Negate(g.InvertSmall(uint64(b - a)))
	}
	return g.InvertSmall(uint64(a - b))
}

// Combine interpolates the shares of a point, held at the given indexes, in
// constant time: what comes out opens a record.
func Combine[S, P any](g Group[S, P], at []int, shares []*P) *P {
	return g.MulSum(Lagrange(g, at), shares)
}

// Consistent says whether points, which stand at 0, 1, 2 … up to 255, are values
// of one polynomial with k coefficients. It folds them with a random word of the
// dual code (Cascudo and David, "SCRAPE", ACNS 2017), given by its coefficients:
// len(points)−k scalars, drawn after the points are fixed. There is nothing to
// check, and no coefficient, when there are only k points.
func Consistent[S, P any](g Group[S, P], points []*P, dual []*S) bool {
	word := make([]*S, len(points))
	for i := range points {
		x := g.Small(uint64(i))
		word[i] = g.Small(0)
		for _, coefficient := range dual {
			word[i] = g.MulAdd(word[i], x, coefficient)
		}
		for j := range points {
			if i != j {
				word[i] = g.ScalarMul(word[i], inverseOfDifference(g, i, j))
			}
		}
	}
	return g.IsIdentity(g.VarTimeMulSum(word, points))
}
