// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/test/traffic/report"
)

// recording is what happened in one run of the guide.
type recording struct {
	// Began is its begin.
	Began time.Time `json:"began"`
	// Marks are what was done, and what came of it.
	Marks []mark `json:"marks"`
	// Reports are the answers, interval by interval.
	Reports []report.Report `json:"reports"`
}

// flawless is an error if any request failed: the guide promises that none does, and a picture that shows another
// thing is not to be kept.
func (r recording) flawless() error {
	sum := report.Sum(r.Reports...)
	if sum.Requests() == 0 || sum.Lost() > 0 {
		return fmt.Errorf("%d of %d requests failed, so that nothing is kept: %s", sum.Lost(), sum.Requests(), sum)
	}
	return nil
}

// mark is a moment of a run.
type mark struct {
	Time time.Time `json:"time"`
	// Says is what happened, in a few words.
	Says string `json:"says"`
	// Person is true for what a person did, and false for what came of it.
	Person bool `json:"person,omitempty"`
}

// The sizes of the picture. Unit: pixels, at its natural size.
const (
	width, height = 960, 484
	left, right   = 56, 16
	top, bottom   = 160, 64
	plotWidth     = width - left - right
	plotHeight    = height - top - bottom
)

// window is the time over which a share is taken: with the rate of the load, some hundred answers.
const window = time.Second

// palette are the colours of the versions, each readable on white and on black.
var palette = map[string]string{"blue": "#3b82f6", "yellow": "#eab308", "red": "#ef4444", "green": "#22c55e", "orange": "#f97316", "purple": "#a855f7"}

// draw writes the picture of a run: the share of each version in the answers, over time, one above the other.
func (r recording) draw(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-labelledby="title">`+"\n", width, height)
	sum := report.Sum(r.Reports...)
	fmt.Fprintf(&b, `<title id="title">Share of each version in the answers during the guide: %d requests, %d failed</title>`+"\n", sum.Requests(), sum.Lost())
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	r.areas(&b)
	r.axes(&b)
	r.marks(&b)
	r.legend(&b, sum)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r recording) length() time.Duration {
	return r.Reports[len(r.Reports)-1].Time.Sub(r.Began)
}

// x is where a moment is in the picture.
func (r recording) x(t time.Time) float64 {
	return left + plotWidth*t.Sub(r.Began).Seconds()/r.length().Seconds()
}

// y is where a share is, in percent.
func y(share float64) float64 { return top + plotHeight*(1-share/100) }

// versions are the colours that answered, in the order of their first answers.
func (r recording) versions() []string {
	var found []string
	for _, said := range r.Reports {
		answers := make([]string, 0, len(said.Answers))
		for answer := range said.Answers {
			answers = append(answers, answer)
		}
		slices.Sort(answers)
		for _, answer := range answers {
			_, colour, _ := strings.Cut(answer, " ")
			if !slices.Contains(found, colour) {
				found = append(found, colour)
			}
		}
	}
	return found
}

// point is the share of each version at a moment.
type point struct {
	at     time.Time
	shares map[string]float64
}

// points are the shares over time, each of a window that ends there.
func (r recording) points() []point {
	var all []point
	for i := range r.Reports {
		end := r.Reports[i].Time
		first := i
		for first > 0 && end.Sub(r.Reports[first-1].Time) < window {
			first--
		}
		within := report.Sum(r.Reports[first : i+1]...)
		if within.Requests() == 0 {
			continue
		}
		shares := map[string]float64{}
		for _, version := range r.versions() {
			shares[version] = within.Share(version)
		}
		all = append(all, point{end, shares})
	}
	return all
}

// areas draws the versions, the oldest at the bottom.
func (r recording) areas(b *strings.Builder) {
	points := r.points()
	below := make([]float64, len(points))
	for _, version := range r.versions() {
		var upper, lower []string
		for i, p := range points {
			lower = append(lower, fmt.Sprintf("%.1f,%.1f", r.x(p.at), y(below[i])))
			below[i] += p.shares[version]
			upper = append(upper, fmt.Sprintf("%.1f,%.1f", r.x(p.at), y(below[i])))
		}
		slices.Reverse(lower)
		fmt.Fprintf(b, `<polygon fill="%s" points="%s"/>`+"\n", palette[version], strings.Join(append(upper, lower...), " "))
	}
}

// axes draws percent and seconds.
func (r recording) axes(b *strings.Builder) {
	for share := 0; share <= 100; share += 20 {
		at := y(float64(share))
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#00000022"/>`+"\n", left, left+plotWidth, at, at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end" fill="#444">%d %%</text>`+"\n", left-8, at+4, share)
	}
	for second := 0; time.Duration(second)*time.Second <= r.length(); second += 10 {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#444">%d s</text>`+"\n", r.x(r.Began.Add(time.Duration(second)*time.Second)), top+plotHeight+18, second)
	}
}

// marks draws what happened: what a person did in black, what came of it in grey, each on the first line on which it
// does not write over a neighbour.
func (r recording) marks(b *strings.Builder) {
	const lines, lineHeight, letter, gap = 9, 16, 7.5, 8
	var ends [lines]float64
	for _, m := range r.Marks {
		colour, weight := "#777", "normal"
		if m.Person {
			colour, weight = "#000", "bold"
		}
		x, long := r.x(m.Time), letter*float64(len(m.Says))
		anchor, offset, begin := "start", 4.0, x
		if x > left+plotWidth*0.85 {
			anchor, offset, begin = "end", -4.0, x-long
		}
		line := slices.IndexFunc(ends[:], func(end float64) bool { return end+gap <= begin })
		if line < 0 {
			line = slices.Index(ends[:], slices.Min(ends[:]))
		}
		ends[line] = begin + long
		text := float64(14 + lineHeight*line)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%d" stroke="%s" stroke-dasharray="3 3"/>`+"\n", x, x, text-10, top+plotHeight, colour)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" font-weight="%s">%s</text>`+"\n", x+offset, text, anchor, colour, weight, m.Says)
	}
}

// legend names the versions and the sum.
func (r recording) legend(b *strings.Builder, sum report.Report) {
	x := left
	for _, version := range r.versions() {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d" fill="#222">%s</text>`+"\n", x, height-26, palette[version], x+18, height-16, version)
		x += 90
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" fill="#222">%d requests, %d failed</text>`+"\n", width-right, height-16, sum.Requests(), sum.Lost())
}
