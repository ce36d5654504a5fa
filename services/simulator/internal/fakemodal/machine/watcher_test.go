package machine_test

import (
	"strconv"
	"strings"
	"sync"
)

// watcher collects output and calls seen once when it contains want.
type watcher struct {
	want string
	seen func()

	mu  sync.Mutex
	got strings.Builder
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got.Write(p)
	if w.seen != nil && strings.Contains(w.got.String(), w.want) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}

func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

// pids returns the numbers of the lines "name number".
func (w *watcher) pids() []int {
	var pids []int
	for line := range strings.Lines(w.text()) {
		_, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pid, err := strconv.Atoi(number); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
