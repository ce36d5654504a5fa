//go:build !linux

package process

import "syscall"

// attributes put the child in its own group, so that Ctrl-C at a terminal reaches this process only, which ends its
// children in order.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
