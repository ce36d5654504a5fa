package pools

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a pools file.
type Error struct {
	// Line counts from 1. It is 0 if what is wrong has no place in the file.
	Line int
	// Field is a path such as pools.gpu.cpu or repositories[0].match; empty for the file as a whole.
	Field string
	Rule  string
	// Got is the value as it may be shown; empty if it says nothing.
	Got string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Rule)
	if e.Got != "" {
		b.WriteString(" (got " + e.Got + ")")
	}
	return b.String()
}

// Errors are all mistakes of a file, in the order of its lines.
type Errors []*Error

// Error has a line for each.
func (e Errors) Error() string {
	lines := make([]string, 0, len(e))
	for _, one := range e {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap is for package errors.
func (e Errors) Unwrap() []error {
	all := make([]error, 0, len(e))
	for _, one := range e {
		all = append(all, one)
	}
	return all
}

// inOrder sorts the errors as they stand in the file.
func (e Errors) inOrder() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return e
}
