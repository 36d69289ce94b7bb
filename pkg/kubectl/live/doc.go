// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live keeps what a person looks at current: a Feed holds a list of objects as the API server has it now
// and says when they change, Run paces the painting, a Screen repaints a terminal in place. What is
// painted is not its business. It imports client-go and the terminal libraries, nothing of Sluice.
package live
