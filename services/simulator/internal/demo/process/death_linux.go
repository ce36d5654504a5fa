package process

import "syscall"

// attributes put the child in its own group, so that Ctrl-C at a terminal reaches this process only, which ends its
// children in order; and let the kernel end the child when this process dies without doing so. SIGTERM, not SIGKILL:
// the child has children of its own to end.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
