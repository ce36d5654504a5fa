// Package process runs programs as children of this process: it waits until they say that they are ready, keeps what
// they print in files, and ends them.
//
// It knows nothing of what the programs do. No child may outlive the process that started it, however that ends.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// pollInterval is how often a log is looked at for new lines.
	pollInterval = 10 * time.Millisecond
	// tailBytes is how much of the end of a log is read to show its last lines.
	tailBytes = 16 << 10
)

// Spec says what to run.
type Spec struct {
	Name string   // in messages, and of the log file
	Path string   // of the program
	Args []string // without the program's name
	Env  []string // all of it: nothing is inherited
	Dir  string   // where it runs and where its log is, NAME.log
}

// Process is a program that was started. Its methods may be called from any goroutine.
type Process struct {
	name     string
	log      string
	from     int64 // where in the log this start begins
	process  *os.Process
	expected atomic.Bool
	done     chan struct{}
	result   error // of Wait; valid once done is closed
}

// Start runs the program. What it prints is appended to its log, so that a program that is started again has one log.
func Start(s Spec) (*Process, error) {
	p := &Process{name: s.Name, log: filepath.Join(s.Dir, s.Name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", s.Name, err)
	}
	defer func() { _ = log.Close() }() // the program has its own copy
	if p.from, err = log.Seek(0, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("log of %s: %w", s.Name, err)
	}
	cmd := &exec.Cmd{
		Path: s.Path, Args: append([]string{s.Path}, s.Args...), Env: s.Env, Dir: s.Dir, Stdout: log, Stderr: log, SysProcAttr: attributes(),
	}
	started := make(chan error, 1)
	go func() {
		// The kernel tells a child of its parent's death when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.result = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	p.process = cmd.Process
	return p, nil
}

// Name is the program's.
func (p *Process) Name() string { return p.name }

// PID is the number of the process.
func (p *Process) PID() int { return p.process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Check returns an error if the program ended although nobody told it to.
func (p *Process) Check() error {
	if !p.Ended() || p.expected.Load() {
		return nil
	}
	return fmt.Errorf("%s ended unexpectedly (%s); its last lines:\n%s", p.name, p.exit(), p.Tail(tailLines))
}

func (p *Process) exit() string {
	if p.result == nil {
		return "exit status 0"
	}
	return p.result.Error()
}

// AwaitLine waits for a line that contains text and returns it. It fails if the program ends first, or ctx does.
func (p *Process) AwaitLine(ctx context.Context, text string) (string, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		ended := p.Ended() // before the log is read: what it wrote last may be the line
		content, err := os.ReadFile(p.log)
		if err != nil {
			return "", fmt.Errorf("log of %s: %w", p.name, err)
		}
		if line, ok := find(content[p.from:], text); ok {
			return line, nil
		}
		if ended {
			return "", fmt.Errorf("%s ended (%s) before it printed %q; its last lines:\n%s", p.name, p.exit(), text, p.Tail(tailLines))
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not print %q: %w; its last lines:\n%s", p.name, text, context.Cause(ctx), p.Tail(tailLines))
		case <-ticker.C:
		}
	}
}

// find looks at complete lines only.
func find(content []byte, text string) (string, bool) {
	for line := range bytes.Lines(content) {
		if bytes.HasSuffix(line, []byte("\n")) && bytes.Contains(line, []byte(text)) {
			return string(bytes.TrimSpace(line)), true
		}
	}
	return "", false
}

// Kill ends the program at once, as a crash does, and waits for its end.
func (p *Process) Kill() error {
	p.expected.Store(true)
	err := p.signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Freeze halts the program, as a machine does that hangs: it keeps its memory and its connections, and answers nobody.
// Continue, Stop and Kill work on it. Should this process die first, the kernel lets the program go on to its own end:
// what is stopped in a group without a living parent gets SIGHUP and SIGCONT (POSIX, _exit).
func (p *Process) Freeze() error { return p.signal(syscall.SIGSTOP) }

// Continue lets a frozen program go on where it was.
func (p *Process) Continue() error { return p.signal(syscall.SIGCONT) }

// Stop asks the program to end and waits for it; one that has not ended within patience is killed. The error says that
// it had to be, or that it ended with another code than 0.
func (p *Process) Stop(patience time.Duration) error {
	if wasExpected := p.expected.Swap(true); wasExpected && p.Ended() {
		return nil // killed or stopped before, which was reported then
	}
	if err := errors.Join(p.signal(syscall.SIGTERM), p.Continue()); err != nil { // What is frozen hears of no signal but SIGKILL.
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within %s and was killed", p.name, patience), p.Kill())
	}
	if p.result != nil {
		return fmt.Errorf("%s: %w", p.name, p.result)
	}
	return nil
}

func (p *Process) signal(s syscall.Signal) error {
	if err := p.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// tailLines is how many lines of a log tell why a program ended.
const tailLines = 15

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // only read
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	start := max(0, end-tailBytes)
	content, err := io.ReadAll(io.NewSectionReader(f, start, end-start))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
