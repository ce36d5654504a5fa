//go:build unix && !linux

package actionsrunner

import "syscall"

// ownGroup puts a step into its own process group, so that all of it can be signalled.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
