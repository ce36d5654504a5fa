package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// notShown stands where the value would.
const notShown = " (not shown, it may hold a password)"

// fieldError says which rule is broken, and which variables the rule is about. The first of them is to blame.
type fieldError struct {
	names  []string
	rule   string
	cause  error
	hidden bool // the value of the first variable must be shown nowhere
}

// Invalid is the error for a variable that breaks a rule, in the form all errors of this package have. The value is shown,
// so it must not be a secret's; see [Broken]. One with an @ is not: what stands before that may be a password, whatever the
// variable is for. The others are variables that the rule depends on.
func Invalid(name, rule, value string, others ...string) error {
	names := append([]string{name}, others...)
	if strings.Contains(value, "@") {
		return &fieldError{names: names, rule: rule + notShown, hidden: true}
	}
	return &fieldError{names: names, rule: fmt.Sprintf("%s (got %q)", rule, value)}
}

// Broken is the error for a rule about several variables, or about one whose value must not be shown. The operator is told
// to change name; the others are what the rule depends on.
func Broken(rule, name string, others ...string) error {
	return &fieldError{names: append([]string{name}, others...), rule: rule}
}

// Unusable is the error for a variable that names something that can't be used, such as a file, and cause is why.
func Unusable(name, rule string, cause error) error {
	return &fieldError{names: []string{name}, rule: rule, cause: cause}
}

// Faulty is the errors for a variable that names a file with mistakes in it: one for each of those that err joins.
func Faulty(name, path string, err error) error {
	var errs []error
	for _, mistake := range flatten(err) {
		errs = append(errs, Unusable(name, path, mistake))
	}
	return errors.Join(errs...)
}

// Error implements error.
func (e *fieldError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.names[0], e.rule, e.cause)
	}
	return e.names[0] + ": " + e.rule
}

// Unwrap returns the cause, if there is one.
func (e *fieldError) Unwrap() error { return e.cause }

// worthTelling returns the errors of a validator that are not just the consequence of a variable that could not be read:
// that one holds its default, and a rule across fields would blame what the operator never wrote.
func worthTelling(err error, unread map[string]bool) []error {
	return slices.DeleteFunc(flatten(err), func(e error) bool {
		broken, ok := errors.AsType[*fieldError](e)
		return ok && slices.ContainsFunc(broken.names, func(name string) bool { return unread[name] })
	})
}

// flatten takes apart what [errors.Join] joined.
func flatten(err error) []error {
	switch e := err.(type) { //nolint:errorlint // a wrapped join is one error
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []error
		for _, part := range e.Unwrap() {
			all = append(all, flatten(part)...)
		}
		return all
	default:
		return []error{err}
	}
}
