package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"modal-github-runner/services/internal/natstest"
)

func TestAJobIsOursOnceThePoolsFileSaysSo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pools.yaml")
	write := func(label string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("pools: {first: {labels: ["+label+"]}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("modal")
	server := natstest.Start(t)
	i := start(t, server.URL(), "POOLS_FILE="+path)
	poll(t, i.ready)
	queued := read(t, "../internal/webhook/testdata/payloads/workflow_job/queued.payload.json")
	if status := i.send("before", "workflow_job", queued); status != http.StatusAccepted || stored(t, server) != 0 {
		t.Errorf("a job of no pool: %d", status)
	}
	write("ubuntu-latest")
	sent := 0
	poll(t, func() bool {
		sent++
		status := i.send(fmt.Sprintf("after-%d", sent), "workflow_job", queued)
		return status == http.StatusAccepted && stored(t, server) == 1
	})
}
