package config_test

import (
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
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
	Servers  []*url.URL           `env:"APP_SERVERS" schemes:"nats,tls" doc:"servers"`
	Level    slog.Level           `env:"APP_LEVEL" default:"info" doc:"a level"`
	Color    color                `env:"APP_COLOR" default:"red" doc:"a color"`
	Password config.Secret        `env:"APP_PASSWORD" doc:"a password"`
	Token    *config.SecretSource `env:"APP_TOKEN" required:"true" doc:"a token"`
	Group    group
	Untagged int
}

func (t *target) Validate() error {
	if t.Name == "blue" {
		return config.Invalid("APP_NAME", "must not be a color", t.Name)
	}
	return nil
}

func TestLoadFillsEveryTypeAndSaysWhereItCameFrom(t *testing.T) {
	t.Parallel()
	file := write(t, "canary-token\n")
	var got target
	settings, err := config.Load([]string{
		"APP_NAME=first", "APP_NAME=second", "APP_ON=true", "APP_COUNT=7", "APP_ID=9", "APP_WAIT=", "APP_NAMES=a, b,,c",
		"APP_SERVERS=nats://user:canary-url@a:4222,tls://b:4222", "APP_LEVEL=warn", "APP_PASSWORD=canary-password",
		"APP_TOKEN_FILE=" + file, "APP_SIZE=64KiB", "OTHER=ignored",
	}, &got, "APP_")
	if err != nil {
		t.Fatal(err)
	}
	values := []any{
		got.Name, got.On, got.Count, got.ID, got.Wait, strings.Join(got.Names, "+"), got.Server.String(), got.Servers[1].Host,
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
NAME          VALUE                                  SOURCE
APP_NAME      first                                  env
APP_ON        true                                   env
APP_COUNT     7                                      env
APP_ID        9                                      env
APP_WAIT      5s                                     default
APP_NAMES     a,b,c                                  env
APP_SERVER    https://example.org                    default
APP_SERVERS   nats://user:xxxxx@a:4222,tls://b:4222  env
APP_LEVEL     WARN                                   env
APP_COLOR     red                                    default
APP_PASSWORD  [redacted]                             env
APP_TOKEN     [redacted]                             file `+file+`
APP_SIZE      64KiB                                  env
`, "\n")
	if diff := cmp.Diff(wantTable, table.String()); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReportsEveryErrorAtOnceWithoutSecrets(t *testing.T) {
	t.Parallel()
	file := write(t, "x")
	settings, err := config.Load([]string{
		"APP_NAME=blue", "APP_ON=maybe", "APP_COUNT=0", "APP_WAIT=2m", "APP_SERVER=http://example.org", "APP_LEVEL=loud",
		"APP_SERVERS=nats://u:canary@", "APP_COLOR=green", "APP_SIZE=0", "APP_TOKEN=canary", "APP_TOKEN_FILE=" + file,
		"APP_PASSWORD_FILE=/nowhere", "APP_COLOUR=canary",
	}, new(target), "APP_")
	want := []string{
		`APP_ON: must be true or false (or 1 or 0) (got "maybe")`,
		`APP_COUNT: must be at least 1 (got "0")`,
		`APP_ID: is required`,
		`APP_WAIT: must be at most 1m (got "2m")`,
		`APP_SERVER: must be a URL of scheme https (got "http://example.org")`,
		`APP_SERVERS: must be an absolute URL with a host (got "[redacted]")`,
		`APP_LEVEL: must be debug, info, warn or error (got "loud")`,
		`APP_COLOR: must be red (got "green")`,
		`APP_PASSWORD_FILE: must name a readable secret file: open secret file: open /nowhere: no such file or directory`,
		`APP_TOKEN: must not be set together with APP_TOKEN_FILE`,
		`APP_SIZE: must be between 1KiB and 25MiB (got "0")`,
		`APP_COLOUR: is not a known variable, did you mean APP_COLOR?`,
		`APP_NAME: must not be a color (got "blue")`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	if len(settings) != 13 || strings.Contains(err.Error(), "canary") {
		t.Errorf("%d settings, error:\n%v", len(settings), err)
	}
}

func TestRequiredSecretIsAnErrorAlsoWhenEmpty(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{{"APP_ID=1"}, {"APP_ID=1", "APP_TOKEN="}} {
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
