package fleet_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"modal-github-runner/services/internal/config"
	"modal-github-runner/services/worker/internal/run"
)

func TestASandboxHasTheCacheOfItsRepositoryAndNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		owner, repo string
		cache       run.Cache
		volume      string
		path        string
		env         map[string]string
	}{
		"of the App's volume": {
			"octo", "repo",
			run.Cache{Name: "default", SizeMiB: 2048},
			"runners-cache", "/octo/repo/default",
			map[string]string{"RUNNER_CACHE": "/cache", "RUNNER_CACHE_MIB": "2048"},
		},
		"of another volume, to be read only": {
			"octo", "repo",
			run.Cache{Name: "deps", SizeMiB: 1024, Volume: "ours", ReadOnly: true},
			"ours", "/octo/repo/deps",
			map[string]string{"RUNNER_CACHE": "/cache", "RUNNER_CACHE_MIB": "1024", "RUNNER_CACHE_READ_ONLY": "1"},
		},
		"by a name that GitHub does not tell apart": {
			"Octo", "My.Repo_1-x",
			run.Cache{Name: "default", SizeMiB: 1},
			"runners-cache", "/octo/my.repo_1-x/default",
			map[string]string{"RUNNER_CACHE": "/cache", "RUNNER_CACHE_MIB": "1"},
		},
		"by names that would lead elsewhere": {
			"..", "a/../../b%2f\x00é",
			run.Cache{Name: "", SizeMiB: 1},
			"runners-cache", "/%2e./a%2f..%2f..%2fb%252f%00%c3%a9/%",
			map[string]string{"RUNNER_CACHE": "/cache", "RUNNER_CACHE_MIB": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			runner, pool := newRunner(1), somePool()
			runner.Job.Owner, runner.Job.Repo, runner.Scope, pool.Cache = test.owner, test.repo, test.owner+"/"+test.repo, &test.cache
			if _, err := r.fleet.Create(t.Context(), runner, pool, config.NewSecret(canary)); err != nil {
				t.Fatal(err)
			}
			r.see(func() {
				mounts := r.creates[0].GetDefinition().GetVolumeMounts()
				if len(mounts) != 1 || mounts[0].GetMountPath() != "/cache" || mounts[0].GetVolumeId() != "made:"+test.volume ||
					mounts[0].GetSubPath() != test.path || mounts[0].GetReadOnly() != test.cache.ReadOnly {
					t.Errorf("got %v, want %s of %s", mounts, test.path, test.volume)
				}
				env := r.creates[0].GetSecretSources()[0].GetEnv().GetContents()
				for _, name := range []string{"RUNNER_CACHE", "RUNNER_CACHE_MIB", "RUNNER_CACHE_READ_ONLY"} {
					if env[name] != test.env[name] {
						t.Errorf("%s is %q, want %q", name, env[name], test.env[name])
					}
				}
			})
		})
	}
}

// Another repository's job may take it.
func TestARunnerOfAnOrganizationHasNoCache(t *testing.T) {
	for _, scope := range []string{"octo", "octo/other", "enterprises/octo-corp", ""} {
		r := built(t, nil)
		runner, pool := newRunner(1), somePool()
		runner.Scope, pool.Cache = scope, &run.Cache{Name: "default", SizeMiB: 1}
		if _, err := r.fleet.Create(t.Context(), runner, pool, config.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
		r.see(func() {
			env := r.creates[0].GetSecretSources()[0].GetEnv().GetContents()
			if mounts := r.creates[0].GetDefinition().GetVolumeMounts(); len(mounts) != 0 || env["RUNNER_CACHE"] != "" {
				t.Errorf("scope %q: got %v and %q", scope, mounts, env["RUNNER_CACHE"])
			}
		})
	}
}

func TestACacheThatModalCanNotGiveIsNamedAndNothingIsCreated(t *testing.T) {
	for name, test := range map[string]struct {
		volume string
		fail   error
		want   string
		means  string
	}{
		"a volume of the older version":   {"models", nil, "modal cache models: ", "refused"},
		"one that can't be looked up now": {"", status.Error(codes.Internal, "no"), "nothing was created: modal cache runners-cache: ", "not made"},
	} {
		t.Run(name, func(t *testing.T) {
			r := built(t, nil)
			r.failing("VolumeGetOrCreate", -1, test.fail)
			pool := somePool()
			pool.Cache = &run.Cache{Name: "default", SizeMiB: 1, Volume: test.volume}
			pool.Asked = true // For something else.
			_, err := r.fleet.Create(t.Context(), newRunner(1), pool, config.NewSecret(canary))
			if got := meaning(err); got != test.means || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			r.see(func() {
				if len(r.creates) != 0 {
					t.Errorf("%d create calls", len(r.creates))
				}
			})
		})
	}
}

// cacheOf is the command of jobs, on a directory that stands for what a sandbox sees of a cache.
type cacheOf struct {
	t   *testing.T
	dir string
	env []string
}

func newCache(t *testing.T, env ...string) cacheOf {
	t.Helper()
	return cacheOf{t, t.TempDir(), append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "RUNNER_CACHE_MIB=1"}, env...)}
}

func (c cacheOf) run(args ...string) (code int, said string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "/bin/bash", append([]string{"cache.sh"}, args...)...)
	cmd.Env = slices.Concat(c.env, []string{"RUNNER_CACHE=" + c.dir})
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			c.t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// entries are the names of all that lies in the cache, but for what says when others were used.
func (c cacheOf) entries() (names []string) {
	c.t.Helper()
	found, err := os.ReadDir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range found {
		if !strings.HasPrefix(f.Name(), ".used.") {
			names = append(names, f.Name())
		}
	}
	return names
}

func (c cacheOf) age(name string, hours int) {
	c.t.Helper()
	then := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(filepath.Join(c.dir, name), then, then); err != nil {
		c.t.Fatal(err)
	}
}

// holding makes a directory with a file of that contents, and with reads the file again.
func holding(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func with(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content)
}

func TestWhatAJobKeepsTheNextOneFinds(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	for _, args := range [][]string{{"save", "deps-1", holding(t, "one")}, {"save", "deps-1", holding(t, "other")}, {"save", "deps-2", holding(t, "two")}} {
		if code, said := c.run(args...); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, said)
		}
	}
	entries := c.entries()
	if len(entries) != 2 || !strings.HasPrefix(entries[0], "deps-1@") {
		t.Fatalf("there are %v", entries)
	}
	c.age(entries[0], 2)
	c.age(entries[1], 1)
	for _, test := range []struct {
		what, key, want string
		code            int
	}{
		{"of one key the first that was saved", "deps-1", "one", 0},
		{"of one beginning the newest, though another was used later", "deps-", "two", 0},
		{"of a whole key that one, though another begins with it", "deps-2", "two", 0},
		{"of a key that is not there nothing", "other", "", 1},
		{"of a longer key nothing", "deps-11", "", 1},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if code, said := c.run("restore", test.key, dir); code != test.code || with(t, dir) != test.want {
			t.Errorf("%s: exit code %d, got %q, want %q; %s", test.what, code, with(t, dir), test.want, said)
		}
	}
}

// As at Modal, where each of two sandboxes sees its own files only, until both have ended.
func TestTwoJobsThatSaveOneKeyAtOnceHarmNobody(t *testing.T) {
	t.Parallel()
	a, b := newCache(t), newCache(t)
	for content, c := range map[string]cacheOf{"from a": a, "from b": b} {
		if code, said := c.run("save", "deps", holding(t, content)); code != 0 {
			t.Fatalf("exit code %d: %s", code, said)
		}
	}
	for _, name := range b.entries() {
		if slices.Contains(a.entries(), name) {
			t.Fatalf("both wrote to %s", name)
		}
		if err := os.Rename(filepath.Join(b.dir, name), filepath.Join(a.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if code, said := a.run("restore", "deps", dir); code != 0 || !strings.HasPrefix(with(t, dir), "from ") {
		t.Errorf("exit code %d, got %q: %s", code, with(t, dir), said)
	}
}

func TestAnEntryThatIsNotWholeCountsForNothing(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.run("save", "deps", holding(t, "whole"))
	entry := filepath.Join(c.dir, c.entries()[0])
	content, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entry, content[:len(content)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if code, said := c.run("restore", "deps", dir); code != 1 || with(t, dir) != "" || !strings.Contains(said, "deps is damaged") {
		t.Errorf("exit code %d, got %q: %s", code, with(t, dir), said)
	}
	if code, said := c.run("save", "deps", holding(t, "again")); code != 0 || len(c.entries()) != 1 {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, said := c.run("restore", "deps", dir); code != 0 || with(t, dir) != "again" {
		t.Errorf("exit code %d, got %q: %s", code, with(t, dir), said)
	}
}

func TestADamagedEntryHidesNoOlderOne(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"a job that may write": nil, "a job that may only read": {"RUNNER_CACHE_READ_ONLY=1"}} {
		c := newCache(t)
		for age, key := range []string{"deps-4", "deps-3", "deps-2", "deps-1"} {
			c.run("save", key, holding(t, key))
			c.age(entryOf(t, c, key), age+1)
		}
		for _, key := range []string{"deps-4", "deps-3"} {
			if err := os.Truncate(filepath.Join(c.dir, entryOf(t, c, key)), 10); err != nil {
				t.Fatal(err)
			}
		}
		for n, key := range []string{"deps-4", "deps-3"} { // That changed their ages.
			c.age(entryOf(t, c, key), n+1)
		}
		c.env = append(c.env, env...)
		dir := filepath.Join(t.TempDir(), "new")
		code, said := c.run("restore", "deps-", dir)
		if code != 0 || with(t, dir) != "deps-2" || !strings.Contains(said, "deps-4 is damaged") || !strings.Contains(said, "deps-3 is damaged") {
			t.Errorf("%s: exit code %d, got %q: %s", name, code, with(t, dir), said)
		}
		if left, want := len(c.entries()), 2+2*len(env); left != want {
			t.Errorf("%s: %d entries are left, not %d", name, left, want)
		}
		// Two of one key, of which the newer one is damaged.
		twin := filepath.Join(c.dir, "deps-1@0.tar.zst")
		if err := os.WriteFile(twin, []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(t.TempDir(), "new")
		if code, said := c.run("restore", "deps-1", dir); code != 0 || with(t, dir) != "deps-1" {
			t.Errorf("%s: exit code %d, got %q: %s", name, code, with(t, dir), said)
		}
	}
}

// entryOf is the file of a key.
func entryOf(t *testing.T, c cacheOf, key string) string {
	t.Helper()
	for _, name := range c.entries() {
		if strings.HasPrefix(name, key+"@") {
			return name
		}
	}
	t.Fatalf("there is no %s in %v", key, c.entries())
	return ""
}

// Else each job would begin with what the first ones had kept, and pack in vain what it cannot keep.
func TestWhatAToolKeepsBeginsAnewWhenItOutgrowsTheBound(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	tools := t.TempDir()
	write := func(name string, kib int) {
		path := filepath.Join(tools, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, noise(kib<<10, uint32(kib)), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	keys := func() (keys []string) {
		for _, name := range c.entries() {
			key, _, _ := strings.Cut(name, "@")
			keys = append(keys, key[:strings.LastIndex(key, "-")])
		}
		return keys
	}
	write("npm/a", 300)
	write("npm-more/a", 100)
	c.run("end", tools)
	if got := keys(); !slices.Equal(got, []string{"tool-npm", "tool-npm-more"}) {
		t.Fatalf("kept are %v", got)
	}
	write("npm/b", 800)
	code, said := c.run("end", tools)
	if got := keys(); code != 0 || !slices.Equal(got, []string{"tool-npm-more"}) || !strings.Contains(said, "npm begins anew") {
		t.Errorf("exit code %d, kept are %v: %s", code, got, said)
	}
	if err := os.RemoveAll(filepath.Join(tools, "npm/a")); err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "RUNNER_CACHE_READ_ONLY=1")
	c.run("end", tools)
	if got := keys(); len(got) != 1 {
		t.Errorf("of a job that may only read, kept are %v", got)
	}
	c.env = c.env[:len(c.env)-1]
	c.run("end", tools)
	if got := keys(); !slices.Equal(got, []string{"tool-npm", "tool-npm-more"}) {
		t.Errorf("kept are %v", got)
	}
}

// noise is what no program makes smaller, another for each seed.
func noise(size int, seed uint32) []byte {
	random := make([]byte, size)
	for i := range random {
		seed = seed*1664525 + 1013904223
		random[i] = byte(seed >> 24)
	}
	return random
}

func TestAnEntryIsUnpackedAsAWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	whole := holding(t, strings.Repeat("whole", 1000))
	if err := os.Chmod(whole, 0o750); err != nil {
		t.Fatal(err)
	}
	c.run("save", "deps", whole)
	dir := t.TempDir()
	if code, said := c.run("restore", "deps", dir); code != 0 || len(with(t, dir)) != 5000 {
		t.Errorf("exit code %d: %s", code, said)
	}
	if info, err := os.Stat(dir); err != nil {
		t.Error(err)
	} else if info.Mode().Perm() != 0o750 {
		t.Errorf("the directory itself has the mode %v", info.Mode())
	}
	entry := c.entries()[0]
	content, err := os.ReadFile(filepath.Join(c.dir, entry))
	if err != nil {
		t.Fatal(err)
	}
	// One that has the right name, and ends too soon all the same.
	part := content[:len(content)-4]
	if err := errors.Join(os.Remove(filepath.Join(c.dir, entry)), os.WriteFile(filepath.Join(c.dir, fmt.Sprintf("deps@%x.tar.zst", sha256.Sum256(part))), part, 0o600)); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	code, said := c.run("restore", "deps", dir)
	if left, err := os.ReadDir(dir); code != 2 || len(left) != 0 || err != nil || !strings.Contains(said, "deps can't be unpacked into "+dir) {
		t.Errorf("exit code %d, left are %v, %v: %s", code, left, err, said)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run("save", "more", whole)
	if code, said := c.run("restore", "more", dir); code != 0 || len(with(t, dir)) != 5000 {
		t.Errorf("beside another file: exit code %d: %s", code, said)
	}
}

func TestACacheStaysWithinItsBoundWhateverLiesThere(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	put := func(name string, kib, hours int) {
		path := filepath.Join(c.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, kib<<10), 0o600)); err != nil {
			t.Fatal(err)
		}
		c.age(strings.Split(name, "/")[0], hours)
	}
	put("old@1.tar.zst", 300, 3)
	put("a job's own/file", 300, 2)
	put("young@1.tar.zst", 600, 1)
	put(" ", 300, 5)
	put("blanks ", 2000, 4)
	put(".part.abandoned", 1, 30)
	put(".part.now", 1, 0)
	if code, said := c.run("end", t.TempDir()); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	if got := c.entries(); !slices.Equal(got, []string{".part.now", "a job's own", "young@1.tar.zst"}) {
		t.Errorf("left are %v", got)
	}
	if code, said := c.run("save", "huge", holding(t, string(noise(1100<<10, 1)))); code != 2 || !strings.Contains(said, "huge is not kept: must have at most 1048576 bytes") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if got := c.entries(); len(got) != 3 {
		t.Errorf("left are %v", got)
	}
}

func TestOfACacheThatIsFullWhatWasUsedLastStays(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	for n, key := range []string{"a", "b"} {
		c.run("save", key, holding(t, string(noise(400<<10, [...]uint32{1, 2}[n]))))
		entries := c.entries()
		c.age(entries[n], 2-n)
	}
	c.run("restore", "a", t.TempDir())
	c.run("restore", "b", t.TempDir())
	for _, name := range c.entries() { // Both were used, a after b.
		hours := map[byte]int{'a': 0, 'b': 1}[name[0]]
		c.age(".used."+name, hours)
	}
	c.run("save", "c", holding(t, string(noise(400<<10, 3))))
	found, err := os.ReadDir(c.dir)
	if err != nil || len(found) != 3 || !strings.HasPrefix(found[0].Name(), ".used.a@") || !strings.HasPrefix(found[1].Name(), "a@") || !strings.HasPrefix(found[2].Name(), "c@") {
		t.Errorf("left are %v, %v", found, err)
	}
}

func TestAJobThatMayOnlyReadChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.run("save", "deps", holding(t, "kept"))
	entry := c.entries()[0]
	c.age(entry, 5)
	before, err := os.Stat(filepath.Join(c.dir, entry))
	if err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "RUNNER_CACHE_READ_ONLY=1")
	dir := t.TempDir()
	if code, said := c.run("restore", "deps", dir); code != 0 || with(t, dir) != "kept" {
		t.Errorf("exit code %d, got %q: %s", code, with(t, dir), said)
	}
	if code, said := c.run("save", "more", dir); code != 0 || said != "cache: more is not kept: this job may only read\n" {
		t.Errorf("exit code %d: %s", code, said)
	}
	after, err := os.Stat(filepath.Join(c.dir, entry))
	if err != nil || len(c.entries()) != 1 || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("left are %v, changed %v: %v", c.entries(), after.ModTime(), err)
	}
}

func TestBadUseOfTheCacheIsToldWithTheRule(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no command":                 {nil, "usage: cache save KEY DIR, cache restore KEY DIR"},
		"a key alone":                {[]string{"save", "key"}, "usage: cache save KEY DIR, cache restore KEY DIR"},
		"a key that leads elsewhere": {[]string{"save", "../key", "."}, "KEY: must be of letters, digits and . _ -, and not begin with . (got ../key)"},
		"a key that is a pattern":    {[]string{"restore", "*", "."}, "KEY: must be of letters, digits and . _ -, and not begin with . (got *)"},
		"an empty key":               {[]string{"restore", "", "."}, "KEY: must be of letters, digits and . _ -, and not begin with . (got )"},
		"a long key":                 {[]string{"restore", strings.Repeat("k", 151), "."}, "KEY: must have at most 150 characters (got 151)"},
		"nothing to keep":            {[]string{"save", "key", "nowhere"}, "DIR: must be a directory (got nowhere)"},
	} {
		if code, said := newCache(t).run(test.args...); code != 2 || said != "cache: "+test.want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", name, code, said, test.want)
		}
	}
}

// A tool writes in the first sandbox, and in the second one finds it where it looks.
func TestTheCachesOfToolsGoFromJobToJob(t *testing.T) {
	t.Parallel()
	shared := t.TempDir()
	env := []string{"RUNNER_CACHE=" + shared, "RUNNER_CACHE_MIB=1"}
	variables := []string{"RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY", "npm_config_cache", "PIP_CACHE_DIR", "GOMODCACHE", "GOCACHE"}
	const completed = `"$ACTIONS_RUNNER_HOOK_JOB_COMPLETED" >/dev/null; exit 0`
	write := `for v in ` + strings.Join(variables, " ") + `; do echo $v >"${!v}/$v"; done; ` + completed
	read := `for v in ` + strings.Join(variables, " ") + `; do cat "${!v}/$v"; done; ` + completed
	first := startSandboxWith(t, "600", hasJob+write, env, nil)
	if code, out := first.end(t); code != 0 {
		t.Fatalf("exit code %d: %s %s", code, out, first.errs)
	}
	kept := cacheOf{t: t, dir: shared}.entries()
	if len(kept) != 5 { // Two of the six are of one directory.
		t.Fatalf("kept are %v", kept)
	}
	second := startSandboxWith(t, "600", `"$ACTIONS_RUNNER_HOOK_JOB_STARTED" >/dev/null; `+read, env, nil)
	if code, out := second.end(t); code != 0 || out != strings.Join(variables, "\n")+"\n" {
		t.Errorf("exit code %d, found %q; %s", code, out, second.errs)
	}
	if again := (cacheOf{t: t, dir: shared}).entries(); !slices.Equal(again, kept) {
		t.Errorf("what had not changed was kept again: %v", again)
	}
}

func TestACacheThatIsBrokenFailsNoJob(t *testing.T) {
	t.Parallel()
	p := startSandboxWith(t, "600", hasJob+`echo x >"$GOCACHE/x"; bash -e "$ACTIONS_RUNNER_HOOK_JOB_COMPLETED" 2>/dev/null; exit 0`,
		[]string{"RUNNER_CACHE=/nonexistent", "RUNNER_CACHE_MIB=1"}, nil)
	if code, _ := p.end(t); code != 0 {
		t.Errorf("exit code %d; %s", code, p.errs)
	}
}

func TestASandboxWithoutACacheLeavesToolsAlone(t *testing.T) {
	t.Parallel()
	p := startSandbox(t, "600", hasJob+`env | grep -c -E '^(npm_config_cache|GOCACHE|ACTIONS_RUNNER_HOOK_JOB_COMPLETED)='; cache save a b 2>&1; exit $?`)
	want := "0\ncache: not in this sandbox. The job's pool must have one, and runners be those of one repository (RUNNER_SCOPE=repo)\n"
	if code, out := p.end(t); out != want || code != 127 {
		t.Errorf("exit code %d, it has as many such variables, and said: %q, want %q", code, out, want)
	}
}
