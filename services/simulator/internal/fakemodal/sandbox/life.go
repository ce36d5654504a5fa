package sandbox

import (
	"context"
	"errors"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"

	"modal-github-runner/services/simulator/internal/fakemodal/machine"
)

var (
	errTerminated = errors.New("the sandbox was terminated")
	errTimedOut   = errors.New("the sandbox exceeded its timeout")
	errEnded      = errors.New("the sandbox has ended")
)

// outcome is how a sandbox ended.
type outcome struct {
	status    Status
	exitCode  int
	exception string
}

// live takes the sandbox from its creation to its end.
func (s *Sandbox) live(executor machine.Executor) outcome {
	if err := s.schedule(); err != nil {
		return ended(0, err)
	}
	return s.run(executor)
}

// schedule waits until the sandbox may start. The error says why it was ended before.
func (s *Sandbox) schedule() error {
	wait := time.NewTimer(time.Until(s.startAt))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *Sandbox) run(executor machine.Executor) outcome {
	m, err := executor.Open(s.id)
	if err != nil {
		return ended(0, err)
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.timeout, errTimedOut)
	defer cancel()
	program := s.start(m)
	code, err := m.Main(ctx, program)
	s.endExecs()
	if closeErr := m.Close(); closeErr != nil {
		return outcome{status: InternalFailure, exitCode: code, exception: errors.Join(err, closeErr).Error()}
	}
	return ended(code, err)
}

func (s *Sandbox) start(m machine.Machine) machine.Program {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine, s.status, s.startedAt = m, Running, time.Now()
	close(s.started)
	args := s.spec.Definition.GetEntrypointArgs()
	if len(args) == 0 {
		args = []string{"sleep", "infinity"} // a sandbox without a command stays until it is ended
	}
	return machine.Program{
		Args: args, Env: s.env, Dir: s.spec.Definition.GetWorkdir(), Mounts: machineMounts(s.spec.Definition), Docker: allowsDocker(s.spec.Definition),
		Stdout: s.output.Writer(Stdout), Stderr: s.output.Writer(Stderr),
	}
}

func machineMounts(def *pb.Sandbox) []machine.Mount {
	var mounts []machine.Mount
	for _, m := range def.GetVolumeMounts() {
		mounts = append(mounts, machine.Mount{Volume: m.GetVolumeId(), SubPath: m.GetSubPath(), Path: m.GetMountPath(), ReadOnly: m.GetReadOnly()})
	}
	return mounts
}

// allowsDocker follows modal.com/docs/guide/docker-in-sandboxes.
func allowsDocker(def *pb.Sandbox) bool {
	return def.GetRuntime() == "vm" || def.GetExperimentalOptionsV2()["enable_docker"] == "true"
}

// endExecs refuses further execs, ends those that run and waits for them.
func (s *Sandbox) endExecs() {
	s.mu.Lock()
	s.machine = nil
	s.mu.Unlock()
	s.stop(errEnded)
	s.running.Wait()
}

// ended maps the results of Machine.Main. Modal's exit code of a sandbox that could not start is unknown; it is 0
// here, which the SDK cannot tell from success without looking at the status.
func ended(code int, err error) outcome {
	switch {
	case errors.Is(err, errTimedOut):
		return outcome{status: TimedOut, exception: err.Error()}
	case errors.Is(err, errTerminated), errors.Is(err, ErrStopped):
		return outcome{status: Terminated, exception: err.Error()}
	case err != nil:
		return outcome{status: InitFailure, exception: err.Error()}
	case code != 0:
		return outcome{status: Failure, exitCode: code}
	default:
		return outcome{status: Success}
	}
}
