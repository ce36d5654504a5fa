package e2e_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"modal-github-runner/proto/wire"
	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/demo/workload"
	"modal-github-runner/services/simulator/internal/fault"
)

func TestAnEventThatComesTwiceStartsOneRunner(t *testing.T) {
	s := start(t, rig.Options{Workers: 2})
	tests := []struct {
		name    string
		faults  []string
		prepare func()
	}{
		{"GitHub delivers it twice", []string{"F02"}, func() { s.faults(fault.Rule{Op: "webhook.*", Error: "duplicate"}) }},
		{"two hooks deliver it", []string{"F03"}, func() {
			s.faults()
			s.do(s.Simulator.AddAppHook(t.Context(), s.WebhookURL(), s.Secrets.Webhook))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.faults...)
			s := s.in(t)
			tt.prepare()
			before := len(s.modal(t.Context()).Sandboxes)
			const jobs = 6
			served := s.serve(workload.Options{Jobs: jobs, Seed: 8}, nil)
			// A job that lost its runner to another before that one's own was on its way gets a new one.
			taken := 0
			for _, j := range served.Jobs {
				if j.TookFrom != "" {
					taken++
				}
			}
			if made := len(s.modal(t.Context()).Sandboxes) - before; made < jobs || made > jobs+taken {
				t.Errorf("%d sandboxes were made for %d jobs, of which %d took another's runner", made, jobs, taken)
			}
		})
	}
}

func TestMessagesThatAWorkerCannotReadHoldUpNoOther(t *testing.T) {
	tests := []struct {
		name   string
		faults []string
		msg    *nats.Msg
		logged string
	}{
		{
			"one of a newer version waits for a newer worker",
			[]string{"F39", "F58"},
			&nats.Msg{Header: nats.Header{wire.HeaderSchema: {"99"}}, Data: []byte("from the future")}, "message held for a newer worker",
		},
		{"one without a meaning is given up", []string{"F40"}, &nats.Msg{Data: []byte("\xff\xff")}, "message given up"},
	}
	s := start(t, rig.Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			covers(t, tt.faults...)
			s := s.in(t)
			tt.msg.Subject = wire.QueuedSubject(wire.DefaultPool)
			s.jetstream(func(js jetstream.JetStream) {
				_, err := js.PublishMsg(t.Context(), tt.msg)
				s.do(err)
			})
			eventually(t, "the worker says so", func(context.Context) bool { return strings.Contains(s.log("worker-1"), tt.logged) })
			s.dispatch(t.Context(), "acme/api", task(tt.name, 0))
			s.succeeds(soon, tt.name)
		})
	}
}

func TestADeadLetterThatIsReplayedTwiceIsServedOnce(t *testing.T) {
	covers(t, "F08", "F61")
	s := start(t, rig.Options{})
	s.faults(fault.Rule{Op: "github.generate-jitconfig", Error: "422"})
	s.dispatch(t.Context(), "acme/api", task("refused", 0))
	var listed struct {
		Letters []struct{ Reason string } `json:"dead_letters"`
	}
	eventually(t, "the job is a dead letter", func(ctx context.Context) bool {
		s.do(json.Unmarshal(s.operator(ctx, "dead-letters", "list", "--json"), &listed))
		return len(listed.Letters) == 1
	})
	if listed.Letters[0].Reason == "" {
		t.Error("the dead letter has no reason")
	}
	s.faults()
	job := s.job(t.Context(), "refused")
	for range 2 {
		s.operator(t.Context(), "dead-letters", "replay", strconv.FormatInt(job.ID, 10))
	}
	s.succeeds(soon, "refused")
	s.handled()
	s.leavesNothing(soon)
	if made := len(s.modal(t.Context()).Sandboxes); made != 1 {
		t.Errorf("%d sandboxes were made for one job", made)
	}
}

// operator runs a command of the worker's program and returns what it prints.
func (s *system) operator(ctx context.Context, args ...string) []byte {
	s.t.Helper()
	bin, err := binaries()
	s.do(err)
	admin := strings.TrimPrefix(s.AdminURLs()[len(s.AdminURLs())-1], "http://")
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "worker"), append(args, "--addr="+admin)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("worker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestAStreamThatWasChangedByHandIsRefused(t *testing.T) {
	long(t)
	t.Parallel()
	covers(t, "F32")
	s := start(t, rig.Options{})
	change := func(maxAge time.Duration) {
		s.jetstream(func(js jetstream.JetStream) {
			stream, err := js.Stream(t.Context(), wire.StreamJobs)
			s.do(err)
			config := stream.CachedInfo().Config
			config.MaxAge = maxAge
			_, err = js.UpdateStream(t.Context(), config)
			s.do(err)
		})
	}
	change(time.Hour)
	for _, url := range s.AdminURLs() {
		within(t, 2*soon, url+" says what is different", func(ctx context.Context) bool {
			got := getURL(ctx, t, url+"/readyz")
			return got.status == 503 && strings.Contains(got.body, "1h0m0s")
		})
	}
	change(48 * time.Hour)
	for n := range s.AdminURLs() {
		eventually(t, "it is ready again", func(ctx context.Context) bool { return s.ready(ctx, n) })
	}
	s.serve(workload.Options{Jobs: 3}, nil)
}
