package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/internal/config"
)

type color string

func (c *color) UnmarshalText(text []byte) error {
	if string(text) != "red" {
		return errors.New("must be red")
	}
	*c = color(text)
	return nil
}

type group struct {
	Size config.ByteSize `env:"APP_SIZE" default:"1MiB" min:"1KiB" max:"25MiB" doc:"a size"`
}

type target struct {
	Name     string               `env:"APP_NAME" default:"me" doc:"a name"`
	On       bool                 `env:"APP_ON" default:"false" doc:"a switch"`
	Count    int                  `env:"APP_COUNT" default:"3" min:"1" doc:"a count"`
	ID       int64                `env:"APP_ID" required:"true" doc:"an id"`
	Wait     time.Duration        `env:"APP_WAIT" default:"5s" max:"1m" doc:"a wait"`
	Names    []string             `env:"APP_NAMES" doc:"names"`
	Server   *url.URL             `env:"APP_SERVER" default:"https://example.org" schemes:"https" doc:"a server"`
	Servers  []*url.URL           `env:"APP_SERVERS" schemes:"nats,tls" userinfo:"true" doc:"servers"`
	Port     int64                `env:"APP_PORT_NUMBER" min:"1" doc:"a number without a default"`
	Level    slog.Level           `env:"APP_LEVEL" default:"info" doc:"a level"`
	Color    color                `env:"APP_COLOR" default:"red" doc:"a color"`
	Password config.Secret        `env:"APP_PASSWORD" doc:"a password"`
	Token    *config.SecretSource `env:"APP_TOKEN" required:"true" doc:"a token"`
	Group    group
	Untagged int
	APIKey   *config.SecretSource `env:"APP_API_KEY" form:"token" doc:"a secret for a header"`
}

func (t *target) Validate() error {
	var errs []error
	if t.Name == "blue" {
		errs = append(errs, config.Invalid("APP_NAME", "must not be a color", t.Name))
	}
	if strings.Contains(t.Name, "@") {
		errs = append(errs, config.Invalid("APP_NAME", "must not be an address", t.Name))
	}
	if t.Name == "green" && t.Color == "red" {
		errs = append(errs, config.Invalid("APP_NAME", "must not be green with red", t.Name, "APP_COLOR"))
	}
	if t.Count == 3 {
		errs = append(errs, config.Broken("must be even with APP_NAME", "APP_NAME", "APP_COUNT"))
	}
	if !t.Token.Get().IsZero() && t.Password.IsZero() {
		errs = append(errs, config.Broken("is required with APP_TOKEN", "APP_PASSWORD", "APP_TOKEN"))
	}
	return errors.Join(errs...)
}

func TestLoadFillsEveryTypeAndSaysWhereItCameFrom(t *testing.T) {
	t.Parallel()
	file := write(t, "canary-token\n")
	var got target
	settings, err := config.Load([]string{
		"APP_NAME=first", "APP_NAME=second", "APP_ON=true", "APP_COUNT=7", "APP_ID=9", "APP_WAIT=", "APP_NAMES=a, b,,c",
		"APP_SERVERS=nats://canary-user:canary-url@a:4222,nats://canary@c,tls://b:4222", "APP_LEVEL=warn", "APP_PASSWORD=canary-password",
		"APP_TOKEN_FILE=" + file, "APP_SIZE=64KiB", "OTHER=ignored",
	}, &got, "APP_")
	if err != nil {
		t.Fatal(err)
	}
	values := []any{
		got.Name, got.On, got.Count, got.ID, got.Wait, strings.Join(got.Names, "+"), got.Server.String(), got.Servers[2].Host,
		got.Level, string(got.Color), got.Password.Reveal(), got.Token.Get().Reveal(), int64(got.Group.Size),
	}
	want := []any{
		"first", true, 7, int64(9), 5 * time.Second, "a+b+c", "https://example.org", "b:4222",
		slog.LevelWarn, "red", "canary-password", "canary-token", int64(65536),
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Error(diff)
	}
	var table strings.Builder
	if err := settings.Write(&table); err != nil {
		t.Fatal(err)
	}
	wantTable := strings.TrimLeft(`
NAME             VALUE                                                      SOURCE
APP_NAME         first                                                      env
APP_ON           true                                                       env
APP_COUNT        7                                                          env
APP_ID           9                                                          env
APP_WAIT         5s                                                         default
APP_NAMES        a,b,c                                                      env
APP_SERVER       https://example.org                                        default
APP_SERVERS      nats://[redacted]@a:4222,nats://[redacted]@c,tls://b:4222  env
APP_PORT_NUMBER  -                                                          default
APP_LEVEL        warn                                                       env
APP_COLOR        red                                                        default
APP_PASSWORD     [redacted]                                                 env
APP_TOKEN        [redacted]                                                 file `+file+`
APP_SIZE         64KiB                                                      env
APP_API_KEY      -                                                          default
`, "\n")
	if diff := cmp.Diff(wantTable, table.String()); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReportsEveryErrorAtOnceWithoutSecrets(t *testing.T) {
	t.Parallel()
	file := write(t, "x")
	settings, err := config.Load([]string{
		"APP_NAME=blue", "APP_ON=maybe\t", "APP_COUNT=0", "APP_WAIT=2m", "APP_SERVER=http://example.org", "APP_LEVEL=loud",
		"APP_SERVERS=nats://u:canary@", "APP_COLOR=green", "APP_SIZE=0", "APP_TOKEN=canary", "APP_TOKEN_FILE=" + file,
		"APP_PASSWORD_FILE=/nowhere", "APP_COLOUR=canary", "APP_X=canary", "APP_NAMES=,",
	}, new(target), "APP_")
	want := []string{
		`APP_ON: must be true or false (or 1 or 0) (got "maybe\t")`,
		`APP_COUNT: must be at least 1 (got "0")`,
		`APP_ID: is required`,
		`APP_WAIT: must be at most 1m (got "2m")`,
		`APP_NAMES: must have something between its commas (got ",")`,
		`APP_SERVER: must be a URL of scheme https (got "http://example.org")`,
		`APP_SERVERS: must be an absolute URL with a host (not shown, it may hold a password)`,
		`APP_LEVEL: must be debug, info, warn or error (got "loud")`,
		`APP_COLOR: must be red (got "green")`,
		`APP_PASSWORD_FILE: must name a readable secret file: open secret file: open /nowhere: no such file or directory`,
		`APP_TOKEN: must not be set together with APP_TOKEN_FILE`,
		`APP_SIZE: must be between 1KiB and 25MiB (got "0")`,
		`APP_COLOUR: is not a known variable, did you mean APP_COLOR?`,
		`APP_X: is not a known variable`,
		`APP_NAME: must not be a color (got "blue")`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	var table strings.Builder
	if err := settings.Write(&table); err != nil {
		t.Fatal(err)
	}
	wantTable := strings.TrimLeft(`
NAME             VALUE               SOURCE
APP_NAME         blue                env (invalid)
APP_ON           "maybe\t"           env (invalid)
APP_COUNT        0                   env (invalid)
APP_ID           -                   missing
APP_WAIT         2m                  env (invalid)
APP_NAMES        ,                   env (invalid)
APP_SERVER       http://example.org  env (invalid)
APP_SERVERS      [redacted]          env (invalid)
APP_PORT_NUMBER  -                   default
APP_LEVEL        loud                env (invalid)
APP_COLOR        green               env (invalid)
APP_PASSWORD     -                   file /nowhere (invalid)
APP_TOKEN        [redacted]          env (invalid)
APP_SIZE         0                   env (invalid)
APP_API_KEY      -                   default
`, "\n")
	if diff := cmp.Diff(wantTable, table.String()); diff != "" {
		t.Error(diff)
	}
}

func TestARuleAcrossFieldsNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	settings, err := config.Load([]string{"APP_ID=1", "APP_TOKEN=canary", "APP_COUNT=2"}, new(target))
	if err == nil || err.Error() != "APP_PASSWORD: is required with APP_TOKEN" {
		t.Errorf("Load() = %v", err)
	}
	var table strings.Builder
	if err := settings.Write(&table); err != nil || !regexp.MustCompile(`(?m)^APP_PASSWORD +- +missing$`).MatchString(table.String()) {
		t.Errorf("%v, table:\n%s", err, &table)
	}
}

func TestABlankSecretIsAnError(t *testing.T) {
	t.Parallel()
	file := write(t, " \t\n")
	for environ, want := range map[string]string{
		"APP_TOKEN= \t":          `APP_TOKEN: must not be blank`,
		"APP_TOKEN_FILE=" + file: `APP_TOKEN_FILE: must name a readable secret file: secret file ` + file + `: must not be blank`,
	} {
		_, err := config.Load([]string{"APP_ID=1", "APP_COUNT=2", environ}, new(target))
		if err == nil || err.Error() != want {
			t.Errorf("Load(%q) = %v", environ, err)
		}
	}
}

func TestASecretForAHeaderIsAnErrorUnlessItFits(t *testing.T) {
	t.Parallel()
	const rule = "must be printable ASCII without white space"
	for name, test := range map[string]struct{ value, want, wantOfFile string }{
		"all that is printable":     {"!09AZaz~", "", ""},
		"a line feed at the end":    {"canary\n", rule, ""}, // As editors leave it in a file.
		"two line feeds at the end": {"canary\n\n", rule, rule},
		"a line feed":               {"canary\nX: y", rule, rule},
		"a blank before":            {" canary", rule, rule},
		"a blank inside":            {"canary two", rule, rule},
		"a tab after":               {"canary\t", rule, rule},
		"a control character":       {"canary\x00", rule, rule},
		"delete":                    {"canary\x7f", rule, rule},
		"a letter beyond ASCII":     {"canaryé", rule, rule},
		"a broken letter":           {"canary\xff", rule, rule},
		"nothing but blanks":        {" \t", "must not be blank", "must not be blank"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := write(t, test.value)
			for environ, want := range map[string]string{
				"APP_API_KEY=" + test.value: "APP_API_KEY: " + test.want,
				"APP_API_KEY_FILE=" + file:  "APP_API_KEY_FILE: must name a readable secret file: secret file " + file + ": " + test.wantOfFile,
			} {
				if strings.HasSuffix(want, ": ") {
					want = ""
				}
				got := ""
				settings, err := config.Load([]string{"APP_ID=1", "APP_TOKEN=x", "APP_PASSWORD=x", "APP_COUNT=2", environ}, new(target))
				if err != nil {
					got = err.Error()
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if shown := fmt.Sprint(settings); strings.Contains(shown, "canary") {
					t.Errorf("shown: %s", shown)
				}
			}
		})
	}
}

func TestARefusedValueWithAnAtIsShownNowhere(t *testing.T) {
	t.Parallel()
	good := []string{"APP_ID=1", "APP_TOKEN=x", "APP_PASSWORD=x", "APP_COUNT=2"}
	for environ, want := range map[string]string{
		"APP_WAIT=u:canary@h":  "APP_WAIT: must be a duration such as 500ms, 30s or 2h",
		"APP_COLOR=u:canary@h": "APP_COLOR: must be red",
		"APP_NAME=u:canary@h":  "APP_NAME: must not be an address",
	} {
		settings, err := config.Load(append(good, environ), new(target))
		if err == nil || err.Error() != want+" (not shown, it may hold a password)" {
			t.Errorf("Load(%q) = %v", environ, err)
		}
		var table strings.Builder
		if err := settings.Write(&table); err != nil || strings.Contains(table.String(), "canary") {
			t.Errorf("%v, table:\n%s", err, &table)
		}
	}
}

func TestARuleIsNotToldIfWhatItDependsOnCouldNotBeRead(t *testing.T) {
	t.Parallel()
	_, err := config.Load([]string{"APP_ID=1", "APP_TOKEN=x", "APP_PASSWORD=x", "APP_COUNT=2", "APP_NAME=green", "APP_COLOR=blue"}, new(target))
	if err == nil || err.Error() != `APP_COLOR: must be red (got "blue")` {
		t.Errorf("Load() = %v", err)
	}
}

func TestURLsAreRefusedForWhatTheyHold(t *testing.T) {
	t.Parallel()
	const hidden = " (not shown, it may hold a password)"
	for value, want := range map[string]string{
		"::bad":                      `must be an absolute URL with a host (got "::bad")`,
		"foo:4318":                   `must be an absolute URL with a host (got "foo:4318")`,
		"https://:443":               `must be an absolute URL with a host (got "https://:443")`,
		"https://host:65536":         `must have a port from 1 to 65535, if any (got "https://host:65536")`,
		"https://host:0":             `must have a port from 1 to 65535, if any (got "https://host:0")`,
		"https://canary@host":        `must have no user name, password or token before the host` + hidden,
		"canary@host":                `must be an absolute URL with a host` + hidden,
		"https://host/?token=canary": `must have neither a query nor a fragment` + hidden,
		"https://host/#canary":       `must have neither a query nor a fragment` + hidden,
	} {
		settings, err := config.Load([]string{"APP_ID=1", "APP_TOKEN=x", "APP_PASSWORD=x", "APP_COUNT=2", "APP_SERVER=" + value}, new(target))
		if err == nil || err.Error() != "APP_SERVER: "+want {
			t.Errorf("Load(%q) = %v", value, err)
		}
		var table strings.Builder
		if err := settings.Write(&table); err != nil || strings.Contains(table.String(), "canary") {
			t.Errorf("%v, table:\n%s", err, &table)
		}
	}
}

func TestRequiredSecretIsAnErrorAlsoWhenEmpty(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{{"APP_ID=1", "APP_COUNT=2"}, {"APP_ID=1", "APP_COUNT=2", "APP_TOKEN="}} {
		_, err := config.Load(environ, new(target))
		if err == nil || err.Error() != "APP_TOKEN: is required (or APP_TOKEN_FILE)" {
			t.Errorf("Load(%v) = %v", environ, err)
		}
	}
}

func TestMarkdownListsNamesDefaultsAndMeanings(t *testing.T) {
	t.Parallel()
	got := config.Markdown(&struct {
		Token *config.SecretSource `env:"TOKEN" required:"true" doc:"a token"`
		Level slog.Level           `env:"LEVEL" default:"info" doc:"a level"`
		Name  string               `env:"NAME" doc:"a name"`
	}{})
	want := "| variable | default | meaning |\n|---|---|---|\n| `TOKEN`, `TOKEN_FILE` | required | a token |\n" +
		"| `LEVEL` | `info` | a level |\n| `NAME` | none | a name |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestByteSizeRoundTrips(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		bytes config.ByteSize
		again string
	}{
		"0": {0, "0B"}, "512": {512, "512B"}, "1024": {1024, "1KiB"}, "3 MiB": {3 << 20, "3MiB"}, "2GiB": {2 << 30, "2GiB"},
	} {
		var got config.ByteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want.bytes || got.String() != want.again {
			t.Errorf("%q = %d %s, %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "1MB", "9999999999GiB", "KiB"} {
		if err := new(config.ByteSize).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzByteSize(f *testing.F) {
	f.Add("1MiB")
	f.Add("18446744073709551615GiB")
	f.Fuzz(func(t *testing.T, text string) {
		var size, again config.ByteSize
		if size.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(size.String())); err != nil || again != size || size < 0 {
			t.Errorf("%q = %d, again %d, %v", text, size, again, err)
		}
	})
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
