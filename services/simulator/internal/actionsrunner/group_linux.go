package actionsrunner

import "syscall"

// ownGroup puts a step into its own process group, so that all of it can be signalled, and lets the kernel end it when
// the runner is killed: in a real sandbox nothing outlives the runner either.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
