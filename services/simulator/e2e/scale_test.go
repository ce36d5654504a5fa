package e2e_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/demo/report"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
)

func TestWorkersAreReplacedOneByOneUnderLoad(t *testing.T) {
	long(t)
	covers(t, "F44")
	const workers = 3
	s, replaced := start(t, rig.Options{Workers: workers}), 0
	s.serve(workload.Options{Jobs: 80, Seed: 5}, func(now report.Report) error {
		c := now.Counts()
		if replaced == workers || c.Launched+c.Running == 0 || c.Done() < 15*replaced {
			return nil
		}
		replaced++
		if err := s.Worker(replaced - 1).Stop(stopLimit); err != nil { // for a late end, and for any exit code but 0
			return err
		}
		return s.StartWorker(t.Context(), replaced-1)
	})
	if replaced != workers {
		t.Errorf("only %d of %d workers were replaced", replaced, workers)
	}
}

func TestWorkersAreScaledFromNoneToFiveToOne(t *testing.T) {
	long(t)
	covers(t, "F57")
	const most, jobs = 5, 60
	s := start(t, rig.Options{Workers: most})
	for n := range most {
		s.do(s.Worker(n).Stop(stopLimit))
	}
	running := 0
	s.serve(workload.Options{Jobs: jobs, Seed: 6}, func(now report.Report) error {
		c := now.Counts()
		for running == 0 && c.Queued > jobs/3 || running > 0 && running < most {
			if err := s.StartWorker(t.Context(), running); err != nil {
				return err
			}
			running++
		}
		for running == most && 3*c.Done() > jobs {
			for n := 1; n < most; n++ {
				if err := s.Worker(n).Stop(stopLimit); err != nil {
					return err
				}
			}
			running = -1
		}
		return nil
	})
	if running != -1 {
		t.Error("the workers were not scaled down")
	}
}

func TestIngressStopsInOrderUnderLoad(t *testing.T) {
	covers(t, "F25")
	s := start(t, rig.Options{Env: []string{"ALLOWED_REPOS=Codertocat/Hello-World"}})
	s.do(s.Worker(0).Stop(stopLimit)) // It is about the events alone.
	const clients = 8
	body := relabel(t, "workflow_job/queued.payload.json")
	answers := make([]map[string]int, clients) // statuses by delivery, one map for each client
	enough := make(chan struct{})
	var sending sync.WaitGroup
	for n := range clients {
		answers[n] = map[string]int{}
		sending.Go(func() {
			for sent := 1; ; sent++ {
				guid := newGUID()
				got, err := try(s.delivery(t.Context(), guid, "workflow_job", body))
				if err != nil {
					return // Nobody listens any more.
				}
				answers[n][guid] = got.status
				if n == 0 && sent == 20 {
					close(enough)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(soon):
		t.Error("20 webhooks took too long")
	}
	err := s.Ingress(0).Stop(stopLimit) // for a late end, and for any exit code but 0
	sending.Wait()
	s.do(err)
	stored := s.storedDeliveries()
	accepted := 0
	for _, statuses := range answers {
		for guid, status := range statuses {
			switch {
			case status == http.StatusAccepted && !slices.Contains(stored, guid):
				t.Errorf("delivery %s was accepted and is not in the stream", guid)
			case status == http.StatusAccepted:
				accepted++
			case status != http.StatusServiceUnavailable:
				t.Errorf("delivery %s was answered with %d", guid, status)
			}
		}
	}
	if accepted < 20 {
		t.Errorf("only %d webhooks were accepted", accepted)
	}
}

// storedDeliveries are the delivery ids of the events in the stream.
func (s *system) storedDeliveries() []string {
	s.t.Helper()
	var ids []string
	s.jetstream(func(js jetstream.JetStream) {
		stream, err := js.Stream(s.t.Context(), wire.StreamJobs)
		s.do(err)
		state := stream.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := stream.GetMsg(s.t.Context(), seq)
			s.do(err)
			ids = append(ids, m.Header.Get(jetstream.MsgIDHeader))
		}
	})
	return ids
}
