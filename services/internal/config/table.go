package config

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"
	"text/tabwriter"
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

		return value.Redacted()
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

// printable is what may be shown of a raw value that was refused: nothing of a URL that may hold a password.
func printable(t reflect.Type, raw string) string {
	isURL := t == reflect.TypeFor[*url.URL]() || t == reflect.TypeFor[[]*url.URL]()
	if isURL && strings.Contains(raw, "@") {
		return redacted
	}

	return raw
}

// Write prints name, value and source of every variable as an aligned table.
func (e Effective) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tSOURCE")
	for _, s := range e {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, cmp.Or(s.Value, "-"), s.Source)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}

	return nil
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
