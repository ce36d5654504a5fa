// Package reply is how an operation of the simulated GitHub says no. It only carries the words; who says them and when
// is decided elsewhere.
package reply

import (
	"fmt"
	"time"
)

// Error is an answer that GitHub documents as an error.
type Error struct {
	Status     int
	Message    string
	Doc        string        // path below https://docs.github.com/rest, may be empty
	RetryAfter time.Duration // sent as Retry-After in whole seconds; 0 sends none
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Message) }

// Fail makes an Error with a status and GitHub's words.
func Fail(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}
