package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxLabels is GitHub's own limit for a just-in-time runner.
	maxLabels = 100
	// maxLabelBytes is the limit that GitHub's runner checks when it is configured.
	maxLabelBytes = 256
	// maxTextBytes bounds what only people read.
	maxTextBytes = 256
)

// CheckLabels returns nil if a runner can have all labels of a job, else which one breaks which rule, without its text. No other job is
// taken on, whoever tells of it.
func CheckLabels(labels []string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("workflow_job.labels: must be at most %d (got %d)", maxLabels, len(labels))
	}
	for i, label := range labels {
		unprintable := strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) })
		if label == "" || len(label) > maxLabelBytes || unprintable {
			return fmt.Errorf("workflow_job.labels[%d]: must be 1 to %d printable bytes (got %d)", i, maxLabelBytes, len(label))
		}
	}
	return nil
}

// CutText shortens what only people read, such as the name of a job, to 256 bytes without splitting a character.
func CutText(s string) string {
	if len(s) <= maxTextBytes {
		return s
	}
	end := maxTextBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.Clone(s[:end]) // The rest must not stay in memory as long as the event does.
}
