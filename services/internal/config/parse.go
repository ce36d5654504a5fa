package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var (
	errBool     = errors.New("must be true or false (or 1 or 0)")
	errInt      = errors.New("must be a whole number")
	errDuration = errors.New("must be a duration such as 500ms, 30s or 2h")
	errLevel    = errors.New("must be debug, info, warn or error")
	errNoItems  = errors.New("must have something between its commas")
)

// parse sets v from raw; its error is the rule that raw breaks.
func parse(v reflect.Value, raw string) error {
	if v.Kind() == reflect.Slice {
		return parseList(v, raw)
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = raw

		return nil
	case *bool:
		return set(p, raw, strconv.ParseBool, errBool)
	case *int:
		return set(p, raw, strconv.Atoi, errInt)
	case *int64:
		return set(p, raw, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }, errInt)
	case *time.Duration:
		return set(p, raw, time.ParseDuration, errDuration)
	case **url.URL:
		u, err := parseURL(raw)
		*p = u

		return err
	case *slog.Level:
		if p.UnmarshalText([]byte(raw)) != nil {
			return errLevel
		}

		return nil
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(raw))
	default:
		panic(fmt.Sprintf("config: fields of type %s are not supported", v.Type()))
	}
}

func set[T any](p *T, raw string, parse func(string) (T, error), rule error) error {
	value, err := parse(raw)
	if err != nil {
		return rule
	}
	*p = value

	return nil
}

// parseList splits at commas; blanks around an element do not count and empty elements are dropped. A list without any
// element is an error: whoever wrote it did not mean what an unset variable means.
func parseList(v reflect.Value, raw string) error {
	list := reflect.MakeSlice(v.Type(), 0, strings.Count(raw, ",")+1)
	for part := range strings.SplitSeq(raw, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if err := parse(element, part); err != nil {
			return err
		}
		list = reflect.Append(list, element)
	}
	if list.Len() == 0 {
		return errNoItems
	}
	v.Set(list)

	return nil
}

func checkBounds(v reflect.Value, low, high string) error {
	if low == "" && high == "" {
		return nil
	}
	var rules []string
	within := true
	for _, bound := range []struct {
		text, word string
		sign       int // what comparing the value with the bound must not yield
	}{{low, "at least", -1}, {high, "at most", +1}} {
		if bound.text == "" {
			continue
		}
		limit := reflect.New(v.Type()).Elem()
		if err := parse(limit, bound.text); err != nil {
			panic(fmt.Sprintf("config: bound %q: %v", bound.text, err))
		}
		rules = append(rules, bound.word+" "+bound.text)
		within = within && cmp.Compare(v.Int(), limit.Int()) != bound.sign
	}
	switch {
	case within:
		return nil
	case low != "" && high != "":
		return fmt.Errorf("must be between %s and %s", low, high)
	default:
		return fmt.Errorf("must be %s", rules[0])
	}
}
