package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// markerName is the variable by which the processes of a machine are found wherever they have moved.
	markerName = "SIMULATOR_SANDBOX_ID"
	// dockerName is the variable that is 1 where Program.Docker is true.
	dockerName = "SIMULATOR_DOCKER"
	// DefaultPath is Debian's, as images that are built on it have.
	DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// drainTime bounds the wait for output that a process holds open beyond the program's end.
	drainTime = time.Second
)

// Local is an Executor whose programs are real processes of this computer: each in its own process group, within a
// temporary directory of the machine that is also HOME and TMPDIR, and with no variable but those given. It is no
// security boundary.
type Local struct {
	// Root is the directory that machines are made in. Empty means the system's temporary directory.
	Root string
	// Env holds the variables that the image would set, PATH among them if Debian's does not fit.
	Env map[string]string
	// Volumes has what machines mount; nil means that mounts are not there at all. A variable whose value is the path of a mount, or
	// one in it, has the machine's directory for it instead.
	Volumes *Volumes
}

// Open makes the machine's directory.
func (l Local) Open(id string) (Machine, error) {
	dir, err := os.MkdirTemp(l.Root, "sandbox-")
	if err != nil {
		return nil, fmt.Errorf("make the sandbox's directory: %w", err)
	}
	return &localMachine{id: id, dir: dir, image: l.Env, volumes: l.Volumes}, nil
}

type localMachine struct {
	id, dir string
	image   map[string]string
	volumes *Volumes
	execs   atomic.Bool // an Exec has run, so that Close must look for what it left
}

func (m *localMachine) Main(ctx context.Context, p Program) (int, error) {
	mounts, err := m.volumes.mount(p.Mounts, m.dir)
	if err != nil {
		return 0, err
	}
	p.Env = inMounts(p.Env, mounts)
	code, err := m.run(ctx, p, func() error { return killMarked(m.marker()) })
	if failed := m.volumes.commit(mounts); failed != nil {
		return code, errors.Join(err, failed)
	}
	return code, err
}

func (m *localMachine) Exec(ctx context.Context, p Program) (int, error) {
	m.execs.Store(true)
	return m.run(ctx, p, func() error { return nil })
}

func (m *localMachine) Close() error {
	var err error
	if m.execs.Load() {
		err = killMarked(m.marker())
	}
	return errors.Join(err, removeAll(m.dir))
}

// removeAll removes also what lies in directories that a program made read-only, as Go does with its module cache.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700) //nolint:gosec // a directory needs the execute bit
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

func (m *localMachine) marker() string { return markerName + "=" + m.id }

// run starts the program, waits for it and kills its process group; then it calls cleanUp, and returns when the
// output is complete.
func (m *localMachine) run(ctx context.Context, p Program, cleanUp func() error) (int, error) {
	cmd, err := m.command(p)
	if err != nil {
		return 0, err
	}
	stdout, err := newPipe(p.Stdout)
	if err != nil {
		return 0, err
	}
	stderr, err := newPipe(p.Stderr)
	if err != nil {
		stdout.drain()
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = stdout.write, stderr.write
	err = cmd.Start()
	if err == nil {
		var ended error
		ended, err = waitAndKill(ctx, cmd, cleanUp)
		err = errors.Join(ended, err)
	}
	stdout.drain()
	stderr.drain()
	if err != nil {
		return 0, err
	}
	return exitCode(cmd.ProcessState), nil
}

// waitAndKill returns, as its first result, the cause of ctx if that ended the program.
func waitAndKill(ctx context.Context, cmd *exec.Cmd, cleanUp func() error) (ended, err error) {
	group := -cmd.Process.Pid
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		killGroup(group)
	})
	waitErr := cmd.Wait()
	if !stop() {
		<-killed
		ended = context.Cause(ctx)
	}
	killGroup(group)
	if _, exited := errors.AsType[*exec.ExitError](waitErr); exited {
		waitErr = nil // a status other than zero is a result
	}
	return ended, errors.Join(waitErr, cleanUp())
}

// killGroup ignores the error: that the group is gone is what is wanted.
func killGroup(group int) { _ = syscall.Kill(group, syscall.SIGKILL) }

func (m *localMachine) command(p Program) (*exec.Cmd, error) {
	if len(p.Args) == 0 {
		return nil, errors.New("program: must not be empty")
	}
	dir := filepath.Join(m.dir, filepath.Clean("/"+p.Dir))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the working directory: %w", err)
	}
	env := map[string]string{"PATH": DefaultPath}
	maps.Copy(env, m.image)
	maps.Copy(env, p.Env)
	// These stay the machine's own whatever a client sets, so that nothing is written outside of its directory.
	env["HOME"], env["TMPDIR"], env["PWD"], env[markerName] = m.dir, m.dir, dir, m.id
	delete(env, dockerName)
	if p.Docker {
		env[dockerName] = "1"
	}
	path, err := lookPath(env["PATH"], p.Args[0])
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: path, Args: p.Args, Dir: dir, Env: environ(env),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}, nil
}

func environ(env map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

func lookPath(path, name string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(found) {
			return found, nil
		}
	}
	return "", fmt.Errorf("program %q: %w", name, exec.ErrNotFound)
}

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()) // the convention of shells, and of Modal's SDK for executed commands
	}
	return state.ExitCode()
}

// pipe carries output from a program to a writer.
type pipe struct {
	read, write *os.File
	copied      chan struct{}
}

func newPipe(to io.Writer) (*pipe, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the output: %w", err)
	}
	p := &pipe{read: read, write: write, copied: make(chan struct{})}
	go func() {
		defer close(p.copied)
		// The error is the deadline of drain; what was read until then is all there is.
		_, _ = io.Copy(to, read)
	}()
	return p, nil
}

// drain closes this process's end and waits until all output is copied. A process that escaped by clearing its
// environment may hold the other end; it is waited for no longer than drainTime.
func (p *pipe) drain() {
	_ = p.write.Close()
	_ = p.read.SetReadDeadline(time.Now().Add(drainTime))
	<-p.copied
	_ = p.read.Close()
}
