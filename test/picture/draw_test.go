// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/traffic/report"
)

// run10s is ten seconds of blue, of which the last five are shared with yellow.
func run10s() recording {
	r := recording{Began: time.Unix(1_000, 0)}
	for i := range 100 {
		said := report.Report{Time: r.Began.Add(time.Duration(i+1) * 100 * time.Millisecond)}
		for n := range 10 {
			if i >= 50 && n < 2 {
				said.Count("200 yellow", "")
				continue
			}
			said.Count("200 blue", "")
		}
		r.Reports = append(r.Reports, said)
	}
	r.Marks = []mark{{Time: r.Began.Add(5 * time.Second), Says: "set image yellow", Person: true}, {Time: r.Began.Add(9 * time.Second), Says: "20 %"}}
	return r
}

func TestPoints(t *testing.T) {
	r := run10s()
	if got := r.versions(); !slices.Equal(got, []string{"blue", "yellow"}) {
		t.Fatalf("the versions are %q", got)
	}
	points := r.points()
	last := points[len(points)-1].shares
	if first := points[0].shares; first["blue"] != 100 || first["yellow"] != 0 || last["blue"] != 80 || last["yellow"] != 20 {
		t.Errorf("it begins with %v and ends with %v", first, last)
	}
}

func TestDraw(t *testing.T) {
	var picture bytes.Buffer
	if err := run10s().draw(&picture); err != nil {
		t.Fatal(err)
	}
	text := picture.String()
	for _, want := range []string{"set image yellow", "1000 requests, 0 failed", palette["blue"], palette["yellow"], ">10 s<"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	polygons := 0
	for decoder := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %v", err)
		}
		if element, is := token.(xml.StartElement); is && element.Name.Local == "polygon" {
			polygons++
		}
	}
	if polygons != 2 {
		t.Errorf("%d areas are drawn, of 2 versions", polygons)
	}
}

// The picture in the documents is that of the recording beside it, in which no request failed.
func TestThePictureIsThatOfTheRecording(t *testing.T) {
	folder := filepath.Join("..", "..", "docs", "images")
	want, err := drawn(filepath.Join(folder, "guide.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(folder, "guide.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/images/guide.svg is not what is drawn of docs/images/guide.json: go run ./test/picture --redraw")
	}
	if !strings.Contains(string(got), " requests, 0 failed") {
		t.Error("requests failed while it was recorded")
	}
}

func TestARunWithFailuresIsNotKept(t *testing.T) {
	for _, row := range []struct {
		rule            string
		answer, failure string
		kept            bool
	}{
		{"one that went well", "200 blue", "", true},
		{"an answer that is missing", "", "connection refused", false},
		{"an answer that is an error", "500 yellow", "", false},
	} {
		r := run10s()
		r.Reports[7].Count(row.answer, row.failure)
		if err := r.flawless(); (err == nil) != row.kept {
			t.Errorf("%s: %v", row.rule, err)
		}
	}
	if err := (recording{}).flawless(); err == nil {
		t.Error("a run without requests is kept")
	}
}
