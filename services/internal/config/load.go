package config

import (
	"errors"
	"fmt"
	"reflect"

	"modal-github-runner/services/internal/config/environ"
)

// Validator is implemented by targets with rules across fields. Validate runs after every field was read, also when some
// were bad (those hold their defaults), so that all errors come at once. It returns errors made by [Invalid], [Broken] and
// [Unusable], joined; those about a variable that was bad already are dropped.
type Validator interface{ Validate() error }

// Setting is one variable as it took effect or, if Invalid, as it was given. Value and Default may be shown: a secret is
// [redacted] there.
type Setting struct {
	Name     string
	Value    string
	Source   string // "default", "env", or "file PATH"
	Invalid  bool   // an error is about it
	Default  string
	Doc      string
	Required bool
	Secret   bool
}

// Effective lists all variables of a target in the order of its fields.
type Effective []Setting

// Load fills target, a pointer to a struct, from entries ("NAME=value", as [os.Environ] returns them). A variable that
// starts with one of prefixes but belongs to no field is an error. The error joins one error per bad variable; the
// settings are returned either way. Load panics if target's tags are wrong, since that is a bug of the program.
func Load(entries []string, target any, prefixes ...string) (Effective, error) {
	env := environ.Parse(entries)
	var (
		settings Effective
		errs     []error
		known    []string
	)
	unread := map[string]bool{}
	for _, f := range fieldsOf(target) {
		setting, err := f.load(env)
		if err != nil {
			errs = append(errs, err)
			unread[f.name] = true
		}
		settings = append(settings, setting)
		known = append(known, f.names()...)
	}
	errs = append(errs, environ.Unknown(env, known, prefixes)...)
	if v, ok := target.(Validator); ok {
		errs = append(errs, worthTelling(v.Validate(), unread)...)
	}
	settings.markInvalid(errs)

	return settings, errors.Join(errs...)
}

// markInvalid marks what the errors are about.
func (e Effective) markInvalid(errs []error) {
	for _, err := range errs {
		broken, ok := errors.AsType[*fieldError](err)
		for i := range e {
			if ok && (broken.names[0] == e[i].Name || e[i].Secret && broken.names[0] == e[i].Name+fileSuffix) {
				e[i].Invalid = true
				if broken.hidden {
					e[i].Value = redacted
				}
			}
		}
	}
}

// structOf returns the struct that target points to.
func structOf(target any) reflect.Value {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: target must be a pointer to a struct, not %T", target))
	}

	return v.Elem()
}
