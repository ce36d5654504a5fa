package machine_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

func TestAMachineSeesOfAVolumeWhatWasCommittedBeforeItBegan(t *testing.T) {
	volumes := machine.NewVolumes(filepath.Join(t.TempDir(), "volumes"))
	ours := machine.Mount{Volume: "vo-1", SubPath: "/a/b", Path: "/cache"}
	theirs, readOnly, whole := ours, ours, machine.Mount{Volume: "vo-1", Path: "/whole"}
	theirs.SubPath, readOnly.ReadOnly = "/a/c", true
	const all = `cd "$AT" && find . -type f | sort | xargs -r tail -n +1 -q`
	for _, step := range []struct {
		what   string
		mount  machine.Mount
		script string
		want   string
	}{
		{"a directory that was never used is empty", ours, `ls -A "$AT"; mkdir "$AT/x"; echo one >"$AT/x/1"; echo two >"$AT/2"`, ""},
		{"what was written is there", ours, all, "two\none\n"},
		{"another directory has nothing of it", theirs, `ls -A "$AT"; echo other >"$AT/2"`, ""},
		{"what is read only is there, and changes are not kept", readOnly, `rm "$AT/2"; echo three >"$AT/3"; ` + all, "three\none\n"},
		{"what was removed is gone, and what was changed is changed", ours, `rm "$AT/2"; echo more >>"$AT/x/1"; ` + all, "one\nmore\n"},
		{"all of a volume has its directories", whole, all, "one\nmore\nother\n"},
	} {
		m := open(t, machine.Local{Root: t.TempDir(), Volumes: volumes})
		var out, errs bytes.Buffer
		code, err := m.Main(t.Context(), machine.Program{
			Args: []string{"sh", "-c", step.script}, Env: map[string]string{"AT": step.mount.Path}, Mounts: []machine.Mount{step.mount},
			Stdout: &out, Stderr: &errs,
		})
		if err != nil || code != 0 || out.String() != step.want {
			t.Errorf("%s: exit code %d, %v, got %q, want %q; %s", step.what, code, err, out.String(), step.want, errs.String())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOfTwoMachinesThatChangeOneFileTheLastWins(t *testing.T) {
	volumes := machine.NewVolumes(filepath.Join(t.TempDir(), "volumes"))
	run := func(env map[string]string, script string) string {
		m := open(t, machine.Local{Root: t.TempDir(), Volumes: volumes})
		env["AT"] = "/cache"
		var out, errs bytes.Buffer
		if code, err := m.Main(t.Context(), machine.Program{
			Args: []string{"sh", "-c", script}, Env: env, Mounts: []machine.Mount{{Volume: "vo-1", Path: "/cache"}}, Stdout: &out, Stderr: &errs,
		}); code != 0 || err != nil {
			t.Errorf("exit code %d, %v: %s", code, err, errs.String())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	dir := t.TempDir()
	pipes := map[string]string{"FIRST": filepath.Join(dir, "first"), "SECOND": filepath.Join(dir, "second")}
	run(map[string]string{"FIRST": pipes["FIRST"], "SECOND": pipes["SECOND"]}, `mkfifo "$FIRST" "$SECOND"`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It begins first and ends last.
		run(map[string]string{"FIRST": pipes["FIRST"], "SECOND": pipes["SECOND"]}, `echo begun >"$FIRST"; cat "$SECOND"; echo slow >"$AT/both"; echo slow >"$AT/slow"`)
	}()
	run(map[string]string{"FIRST": pipes["FIRST"]}, `cat "$FIRST"; echo quick >"$AT/both"; echo quick >"$AT/quick"`)
	run(map[string]string{"SECOND": pipes["SECOND"]}, `echo go >"$SECOND"`)
	<-done
	if got := run(map[string]string{}, `cd "$AT" && cat both quick slow`); got != "slow\nquick\nslow\n" {
		t.Errorf("got %q", got)
	}
}
