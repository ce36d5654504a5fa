package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/actionsrunner/wire"
)

func TestJITConfigurationComesBack(t *testing.T) {
	want := wire.Settings{AgentID: 7, AgentName: "r", Ephemeral: true, ServerURL: "http://x", WorkFolder: "_work"}
	packed, err := wire.EncodeJIT(map[string]any{wire.SettingsFile: want})
	if err != nil {
		t.Fatal(err)
	}
	files, err := wire.DecodeJIT(packed)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Settings
	if err := json.Unmarshal(files[wire.SettingsFile], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// FuzzDecodeJIT: any text is decoded or refused, and a refusal never quotes it.
func FuzzDecodeJIT(f *testing.F) {
	for _, seed := range []string{"", "bm8=", "e30=", "eyIucnVubmVyIjoiZTMwPSJ9", "not base64 at all"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, config string) {
		files, err := wire.DecodeJIT(config)
		if err == nil {
			return
		}
		if files != nil {
			t.Errorf("an error came with files: %v", err)
		}
		if len(config) > 24 && strings.Contains(err.Error(), config) {
			t.Errorf("the error quotes the configuration: %v", err)
		}
	})
}
