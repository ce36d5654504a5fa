package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// killTime is how long killed processes may take to disappear; SIGKILL takes effect at once unless the kernel
	// is in an uninterruptible operation for the process.
	killTime = 5 * time.Second
	killPoll = 2 * time.Millisecond
)

// killMarked kills every process that was started with the variable "NAME=value" in its environment, and returns when
// none is left. A process that has left its group and session by setsid is found too; one that was started with a
// cleared environment is not. Where there is no /proc, nothing is found.
func killMarked(variable string) error {
	deadline := time.Now().Add(killTime)
	poll := time.NewTicker(killPoll)
	defer poll.Stop()
	for {
		pids, err := marked(variable)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v are left %v after they were killed", pids, killTime)
		}
		for _, pid := range pids {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill() // it may have ended meanwhile, which is what is wanted
				_ = p.Release()
			}
		}
		<-poll.C
	}
}

// marked lists the processes that have the variable. The environment of a zombie is empty, so none is listed.
func marked(variable string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	want := []byte(variable + "\x00")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// Processes come and go while the list is read, and those of other users are unreadable: neither is ours.
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && contains(env, want) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func contains(env, variable []byte) bool {
	return bytes.HasPrefix(env, variable) || bytes.Contains(env, append([]byte{0}, variable...))
}
