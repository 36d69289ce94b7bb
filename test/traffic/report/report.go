// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report is what the load on the demo application found: who answered, when. It imports only the
// standard library.
package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what was answered in one interval, or in many together.
type Report struct {
	// Time is its end.
	Time time.Time `json:"time"`
	// Answers are how many there were, by status and body, as in "200 blue".
	Answers map[string]int `json:"answers,omitempty"`
	// Failures are how many requests were not answered, by what went wrong.
	Failures map[string]int `json:"failures,omitempty"`
}

// Count adds an answer or, if there was none, a failure.
func (r *Report) Count(answer, failure string) {
	counts, key := &r.Answers, answer
	if failure != "" {
		counts, key = &r.Failures, failure
	}
	if *counts == nil {
		*counts = map[string]int{}
	}
	(*counts)[key]++
}

// Sum is what all reports say together; its time is that of the last one.
func Sum(reports ...Report) Report {
	sum := Report{Answers: map[string]int{}, Failures: map[string]int{}}
	for _, r := range reports {
		sum.Time = r.Time
		for answer, n := range r.Answers {
			sum.Answers[answer] += n
		}
		for failure, n := range r.Failures {
			sum.Failures[failure] += n
		}
	}
	return sum
}

// Between are the reports of intervals that began after one time and ended by another; of the first and the last
// interval one cannot tell.
func Between(reports []Report, begin, end time.Time) []Report {
	var within []Report
	for i := 1; i < len(reports); i++ {
		if !reports[i-1].Time.Before(begin) && !reports[i].Time.After(end) {
			within = append(within, reports[i])
		}
	}
	return within
}

// Requests is how many were sent.
func (r Report) Requests() int { return r.answers(func(string) bool { return true }) + r.Failed() }

// Failed is how many were not answered.
func (r Report) Failed() int {
	n := 0
	for _, failures := range r.Failures {
		n += failures
	}
	return n
}

// Errors is how many were answered with another status than 200.
func (r Report) Errors() int {
	return r.answers(func(answer string) bool { return !strings.HasPrefix(answer, "200 ") })
}

// Lost is how many did not get what they asked for: no answer, or an error for one.
func (r Report) Lost() int { return r.Failed() + r.Errors() }

// Of is how many were answered by a colour, with whatever status.
func (r Report) Of(colour string) int {
	return r.answers(func(answer string) bool { return strings.HasSuffix(answer, " "+colour) })
}

// Share is that of a colour in all answers, in percent; 0 without any.
func (r Report) Share(colour string) float64 {
	all := r.answers(func(string) bool { return true })
	if all == 0 {
		return 0
	}
	return 100 * float64(r.Of(colour)) / float64(all)
}

func (r Report) answers(which func(string) bool) int {
	n := 0
	for answer, answers := range r.Answers {
		if which(answer) {
			n += answers
		}
	}
	return n
}

// String lists answers and failures, for people.
func (r Report) String() string {
	var parts []string
	for _, answer := range slices.Sorted(maps.Keys(r.Answers)) {
		parts = append(parts, fmt.Sprintf("%d x %s", r.Answers[answer], answer))
	}
	for _, failure := range slices.Sorted(maps.Keys(r.Failures)) {
		parts = append(parts, fmt.Sprintf("%d x %s", r.Failures[failure], failure))
	}
	if len(parts) == 0 {
		return "nothing was asked"
	}
	return strings.Join(parts, ", ")
}
