// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package figures

import "testing"

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, test := range []struct {
		rule   string
		values []int
		p      float64
		want   int
	}{
		{"no values are zero", nil, 50, 0},
		{"one value is every percentile", []int{7}, 99, 7},
		{"p50 of an even number is the lower of the two in the middle: one that was measured", []int{4, 1, 3, 2}, 50, 2},
		{"p50 of an odd number is the one in the middle", []int{3, 1, 2}, 50, 2},
		{"p99 of 100 leaves one above", hundred, 99, 99},
		{"p100 is the greatest", hundred, 100, 100},
		{"p99 of few is the greatest", []int{1, 2, 3}, 99, 3},
		{"a small p is the smallest", []int{3, 2, 1}, 0.1, 1},
	} {
		if got := Percentile(test.values, test.p); got != test.want {
			t.Errorf("%s: got %d, want %d", test.rule, got, test.want)
		}
	}
}

func TestPercentileLeavesItsInputAlone(t *testing.T) {
	values := []int{3, 1, 2}
	Percentile(values, 50)
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("sorted in place: %v", values)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		rule   string
		values []float64
		want   float64
	}{
		{"no values are zero", nil, 0},
		{"one run is its own median", []float64{2.5}, 2.5},
		{"an odd number has a middle", []float64{9, 1, 3}, 3},
		{"an even number has the mean of the two in the middle", []float64{4, 1, 2, 9}, 3},
	} {
		if got := Median(test.values); got != test.want {
			t.Errorf("%s: got %v, want %v", test.rule, got, test.want)
		}
	}
}
