// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
)

// TestSplitFor is the unit-test table of reference section 2.3, every row of it.
func TestSplitFor(t *testing.T) {
	type row struct{ weight, canary, stable int32 }
	for _, table := range []struct {
		n, surge int32
		rows     []row
	}{
		{0, 0, []row{{0, 0, 0}, {50, 0, 0}, {100, 0, 0}}},
		{0, 1, []row{{0, 0, 0}, {50, 0, 0}, {100, 0, 0}}},
		{1, 0, []row{{0, 0, 1}, {1, 0, 1}, {49, 0, 1}, {50, 1, 0}, {99, 1, 0}, {100, 1, 0}}},
		{1, 1, []row{{0, 0, 1}, {1, 1, 1}, {49, 1, 1}, {50, 1, 1}, {99, 1, 1}, {100, 1, 0}}},
		{2, 0, []row{{0, 0, 2}, {1, 1, 1}, {50, 1, 1}, {99, 1, 1}, {100, 2, 0}}},
		{2, 1, []row{{0, 0, 2}, {1, 1, 2}, {50, 1, 1}, {99, 2, 1}, {100, 2, 0}}},
		{3, 0, []row{{10, 1, 2}, {25, 1, 2}, {33, 1, 2}, {34, 1, 2}, {49, 1, 2}, {50, 2, 1}}},
		{3, 1, []row{{10, 1, 3}, {25, 1, 3}, {33, 1, 2}, {34, 1, 2}, {49, 2, 2}, {50, 2, 2}}},
		{10, 0, []row{{1, 1, 9}, {14, 1, 9}, {15, 2, 8}, {16, 2, 8}, {99, 9, 1}}},
		{10, 1, []row{
			{0, 0, 10}, {1, 1, 10}, {18, 2, 9}, {19, 2, 9}, {20, 2, 8}, {23, 2, 8}, {24, 3, 8}, {25, 3, 8}, {99, 10, 1}, {100, 10, 0},
		}},
		// Not in the table: an exact half that rounds up to all pods has no candidate by the letter of the
		// rules, though "any weight 1..99 with 2 pods in play keeps 1 stable pod".
		{2, 0, []row{{75, 1, 1}}},
		{5, 0, []row{{90, 4, 1}}},
		{10, 0, []row{{95, 9, 1}}},
	} {
		for _, r := range table.rows {
			t.Run(fmt.Sprintf("n=%d surge=%d weight=%d", table.n, table.surge, r.weight), func(t *testing.T) {
				if got, want := splitFor(table.n, r.weight, table.surge), (split{r.canary, r.stable}); got != want {
					t.Errorf("got %d/%d, want %d/%d", got.canary, got.stable, want.canary, want.stable)
				}
			})
		}
	}
}

// TestSplitForDefaults is the derived table of reference section 2.3, with maxSurge 25 %.
func TestSplitForDefaults(t *testing.T) {
	weights := []int32{1, 10, 20, 25, 33, 40, 50, 60, 75, 80, 90, 99, 100}
	for _, row := range []struct {
		n, surge int32
		want     []string
	}{
		{1, 1, []string{"1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/1", "1/0"}},
		{2, 1, []string{"1/2", "1/2", "1/2", "1/2", "1/2", "1/2", "1/1", "2/1", "2/1", "2/1", "2/1", "2/1", "2/0"}},
		{3, 1, []string{"1/3", "1/3", "1/3", "1/3", "1/2", "1/2", "2/2", "2/1", "3/1", "3/1", "3/1", "3/1", "3/0"}},
		{4, 1, []string{"1/4", "1/4", "1/4", "1/3", "2/3", "2/3", "2/2", "3/2", "3/1", "4/1", "4/1", "4/1", "4/0"}},
		{5, 2, []string{"1/5", "1/5", "1/4", "1/4", "2/4", "2/3", "3/3", "3/2", "4/1", "4/1", "5/1", "5/1", "5/0"}},
		{8, 2, []string{"1/8", "1/8", "2/7", "2/6", "3/6", "3/5", "4/4", "5/3", "6/2", "7/2", "8/1", "8/1", "8/0"}},
		{10, 3, []string{"1/10", "1/9", "2/8", "3/8", "3/7", "4/6", "5/5", "6/4", "8/3", "8/2", "9/1", "10/1", "10/0"}},
		{20, 5, []string{"1/20", "2/18", "4/16", "5/15", "7/14", "8/12", "10/10", "12/8", "15/5", "16/4", "18/2", "20/1", "20/0"}},
	} {
		for i, weight := range weights {
			got := splitFor(row.n, weight, row.surge)
			if s := fmt.Sprintf("%d/%d", got.canary, got.stable); s != row.want[i] {
				t.Errorf("n=%d weight=%d: got %s, want %s", row.n, weight, s, row.want[i])
			}
		}
	}
}
