// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package mutation

// mutant is a bug that somebody could make in the engine.
type mutant struct {
	// name says what would be wrong.
	name string
	// file is the one of pkg/engine that is changed; was, which occurs in it exactly once, becomes is.
	file, was, is string
	// harm is what it would mean for users.
	harm string
}

// mutants are bugs that the suite must find. A change of the engine that takes from one of them its place is answered
// by a mutant of the new lines.
var mutants = concat(boundsMutants, rolesMutants, stepsMutants, verbsMutants, lifeMutants, blueGreenMutants)

func concat(lists ...[]mutant) (all []mutant) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}
