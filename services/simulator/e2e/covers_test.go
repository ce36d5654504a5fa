package e2e_test

import (
	"testing"

	"modal-github-runner/services/internal/faultstest"
)

// covers says which faults of the catalogue the test shows the system to survive.
func covers(t *testing.T, faults ...string) {
	t.Helper()
	faultstest.Cover(t, faults...)
}
