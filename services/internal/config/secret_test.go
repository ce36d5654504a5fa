package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/internal/config"
)

const canary = "canary-8d1f"

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	holder := struct {
		Value  config.Secret
		Source *config.SecretSource
		hidden config.Secret // fmt prints it without calling its methods
	}{config.NewSecret(canary), config.StaticSecret(canary), config.NewSecret(canary)}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+verb+"\n", holder.Value, &holder.Value)
		fmt.Fprintf(&out, verb+verb+"\n", holder.Source, holder)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", slog.Any("secret", holder.Value), slog.Any("from", holder.Source), slog.Any("holder", holder))
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("secret", holder.Value), slog.Any("holder", holder))
	for _, leak := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary)} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("leak of %q in:\n%s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("no redaction to be seen in:\n%s", out.String())
	}
}

func TestSecretRefusesToBeEncoded(t *testing.T) {
	t.Parallel()
	secret := config.NewSecret(canary)
	_, jsonErr := json.Marshal(secret)
	_, sourceErr := json.Marshal(config.StaticSecret(canary))
	_, textErr := secret.MarshalText()
	gobErr := gob.NewEncoder(new(bytes.Buffer)).Encode(secret)
	for encoding, err := range map[string]error{"json": jsonErr, "source": sourceErr, "text": textErr, "gob": gobErr} {
		if !errors.Is(err, config.ErrSecretEncoded) {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

func TestSecretEquality(t *testing.T) {
	t.Parallel()
	a := config.NewSecret("a")
	if !a.Equal(config.NewSecret("a")) || a.Equal(config.NewSecret("b")) || a.Equal(config.Secret{}) {
		t.Error("Equal is wrong")
	}
}

func TestSecretFileRotatesAndKeepsTheLastGoodValue(t *testing.T) {
	t.Parallel()
	path := write(t, "one\r\n")
	source, err := config.FileSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	var changes []error
	source.OnChange(func(err error) { changes = append(changes, err) })
	expect(t, source, "one")

	rewrite(t, path, "second")
	expect(t, source, "second")
	rewrite(t, path, "\n")
	expectChanges(t, source, &changes, 2)
	expect(t, source, "second")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path, "third one\n\n")
	expect(t, source, "third one\n")
	if len(changes) != 3 || changes[0] != nil || changes[1] == nil || changes[2] != nil {
		t.Errorf("changes = %v", changes)
	}
}

func TestWhatBecomesOfARotatedFileIsLoggedOnceByTheNameOfItsVariable(t *testing.T) {
	t.Parallel()
	path, other := write(t, canary+"-1"), write(t, canary)
	unusable := `level=ERROR msg="secret file not usable, keeping the last good value" variable=KEY err="secret file ` + path + `: `
	const reloaded = `level=INFO msg="secret reloaded" variable=`
	synctest.Test(t, func(t *testing.T) {
		var settings struct {
			Key   *config.SecretSource `env:"KEY" form:"token"`
			Unset *config.SecretSource `env:"UNSET"`
			Group struct {
				Password *config.SecretSource `env:"PASSWORD"`
			}
		}
		if _, err := config.Load([]string{"KEY_FILE=" + path, "PASSWORD_FILE=" + other}, &settings); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		config.LogReloads(&settings, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
		for _, step := range []struct{ file, content, inForce, logged string }{
			{path, canary + "-2\n", canary + "-2", reloaded + "KEY\n"},
			{path, canary + "\nX: y", canary + "-2", unusable + "must be printable ASCII without white space\"\n"},
			{path, canary + "é", canary + "-2", ""}, // As bad as before.
			{path, canary + "-3", canary + "-3", reloaded + "KEY\n"},
			{path, " ", canary + "-3", unusable + "must not be blank\"\n"},
			{other, canary + " 4", canary + "-3", reloaded + "PASSWORD\n"},
		} {
			rewrite(t, step.file, step.content)
			time.Sleep(time.Minute)
			settings.Group.Password.Get()
			if got := settings.Key.Get().Reveal(); got != step.inForce || log.String() != step.logged {
				t.Errorf("after %q: %q in force, want %q; logged %q, want %q", step.content, got, step.inForce, &log, step.logged)
			}
			log.Reset()
		}
	})
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func TestSecretFileMustBeUsable(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"missing":   "/nowhere",
		"empty":     write(t, "\n"),
		"too large": write(t, strings.Repeat("x", 64<<10+1)),
		"directory": t.TempDir(),
	} {
		if _, err := config.FileSecret(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// rewrite replaces the file as a secret volume does, with a new modification time.
func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, source *config.SecretSource, want string) {
	t.Helper()
	poll(t, func() bool { return source.Get().Reveal() == want })
}

func expectChanges(t *testing.T, source *config.SecretSource, changes *[]error, want int) {
	t.Helper()
	poll(t, func() bool {
		source.Get()
		return len(*changes) == want
	})
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 20 s")
		}
	}
}
