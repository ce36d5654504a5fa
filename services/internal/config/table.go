package config

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// show writes the value of a field the way it would be set, without passwords.
func show(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case string:
		return value
	case *url.URL:
		if value == nil {
			return ""
		}

		return RedactURL(value)
	case slog.Level:
		return strings.ToLower(value.String())
	}
	if v.Kind() == reflect.Slice {
		parts := make([]string, 0, v.Len())
		for i := range v.Len() {
			parts = append(parts, show(v.Index(i)))
		}

		return strings.Join(parts, ",")
	}

	return fmt.Sprint(v.Interface())
}

// Write prints name, value and source of every variable as an aligned table.
func (e Effective) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tSOURCE")
	for _, s := range e {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, cmp.Or(cell(s.Value), "-"), s.source())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}

	return nil
}

func (s Setting) source() string {
	switch {
	case s.Invalid && s.Value == "" && s.Source == byDefault:
		return "missing"
	case s.Invalid:
		return s.Source + " (invalid)"
	default:
		return s.Source
	}
}

// cell quotes what would break the table.
func cell(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(value)
	}

	return value
}

// Markdown returns the table of all variables of target for a README.
func Markdown(target any) string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, f := range fieldsOf(target) {
		s := f.describe()
		name, fallback := "`"+s.Name+"`", "none"
		if s.Secret {
			name += ", `" + s.Name + fileSuffix + "`"
		}
		switch {
		case s.Required:
			fallback = "required"
		case s.Default != "":
			fallback = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, fallback, s.Doc)
	}

	return b.String()
}
