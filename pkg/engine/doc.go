// Package engine decides what happens to a Rollout. Decide turns what is observed into what is to be
// written; the transition functions beside it (Promote, Abort, Retry, Created, Edited) turn what a
// person asks into a changed Rollout, or into a Refusal that says why not.
//
// Everything here is a pure function: no client, no clock, no goroutine, no log line, no randomness.
// Time enters as an argument only. It may import the hub types, the API types of Kubernetes and
// apimachinery, and nothing else of this module.
package engine
