// Copyright The Sluice Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import "github.com/muesli/termenv"

// Tone is what a colour is to say, so that the layout never speaks of colours themselves.
type Tone int

// The tones, from nothing to be said to what needs attention.
const (
	Plain Tone = iota
	Muted
	Good
	Busy
	Warning
	Bad
)

// Painter dresses a text in the colour of a tone. It adds no visible width.
type Painter func(Tone, string) string

// NoColour leaves every text as it is.
func NoColour(_ Tone, text string) string { return text }

// ANSIColour paints with the sixteen colours that every terminal has, so that its own theme decides how
// they look.
func ANSIColour(tone Tone, text string) string {
	style := termenv.ANSI.String(text)
	switch tone {
	case Muted:
		return style.Faint().String()
	case Good:
		return style.Foreground(termenv.ANSIGreen).String()
	case Busy:
		return style.Foreground(termenv.ANSICyan).String()
	case Warning:
		return style.Foreground(termenv.ANSIYellow).String()
	case Bad:
		return style.Foreground(termenv.ANSIRed).String()
	}
	return text
}

// mark is the sign in front of a status, with its tone.
type mark struct {
	icon string
	tone Tone
}

var (
	markOK          = mark{"✔", Good}
	markBad         = mark{"✖", Bad}
	markWarning     = mark{"⚠", Warning}
	markProgressing = mark{"◌", Busy}
	markWaiting     = mark{"◷", Busy}
	markPaused      = mark{"॥", Warning}
	markScaledDown  = mark{"•", Muted}
	markUnknown     = mark{"?", Plain}
)

// status is a word about an object with the mark in front of it. The zero status is not shown.
type status struct {
	mark mark
	text string
}

func (s status) span() span {
	if s.text == "" {
		return span{}
	}
	return span{tone: s.mark.tone, text: s.mark.icon + " " + s.text}
}
