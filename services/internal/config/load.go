package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Validator is implemented by targets with rules across fields. Validate runs after every field was read, also when some
// were bad (those hold their defaults), so that all errors come at once. It returns errors made by [Invalid], joined.
type Validator interface{ Validate() error }

// Setting is one variable as it took effect. Value and Default are printable: a secret shows as [redacted].
type Setting struct {
	Name     string
	Value    string
	Source   string // "default", "env", or "file PATH"
	Default  string
	Doc      string
	Required bool
	Secret   bool
}

// Effective lists all variables of a target in the order of its fields.
type Effective []Setting

// Invalid is the error for a variable that breaks a rule, in the form all errors of this package have.
func Invalid(name, rule, value string) error {
	return fmt.Errorf("%s: %s (got %q)", name, rule, value)
}

// Load fills target, a pointer to a struct, from environ ("NAME=value", as [os.Environ] returns it). A variable that
// starts with one of prefixes but belongs to no field is an error. The error joins one error per bad variable; the
// settings are returned either way. Load panics if target's tags are wrong, since that is a bug of the program.
func Load(environ []string, target any, prefixes ...string) (Effective, error) {
	env := parseEnviron(environ)
	var (
		settings Effective
		errs     []error
		known    []string
	)
	for _, f := range fieldsOf(target) {
		setting, err := f.load(env)
		if err != nil {
			errs = append(errs, err)
		}
		settings = append(settings, setting)
		known = append(known, f.names()...)
	}
	errs = append(errs, unknown(env, known, prefixes)...)
	if v, ok := target.(Validator); ok {
		errs = append(errs, v.Validate())
	}

	return settings, errors.Join(errs...)
}

// parseEnviron keeps the first of two equal names, as the C library and package os do, and drops empty values.
func parseEnviron(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if _, seen := env[name]; !seen && value != "" {
			env[name] = value
		}
	}

	return env
}

func unknown(env map[string]string, known, prefixes []string) []error {
	var names []string
	for name := range env {
		ours := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if ours && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		// The value is not shown: a misspelt name may well hold a secret.
		errs = append(errs, fmt.Errorf("%s: is not a known variable, did you mean %s?", name, nearest(name, known)))
	}

	return errs
}

// nearest returns the known name with the smallest edit distance.
func nearest(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int { return distance(name, a) - distance(name, b) })
}

// distance is Levenshtein's, over bytes: names of variables are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}

	return row[len(b)]
}

// structOf returns the struct that target points to.
func structOf(target any) reflect.Value {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: target must be a pointer to a struct, not %T", target))
	}

	return v.Elem()
}
