package e2e_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"modal-github-runner/services/simulator/internal/demo/rig"
	"modal-github-runner/services/simulator/internal/fault"
)

// A launch fails once on its way, so that the message comes again as a copy that was put off.
func TestOneTraceLeadsFromTheWebhookToTheSandbox(t *testing.T) {
	c := newCollector(t)
	s := start(t, rig.Options{Env: c.env()})
	s.dispatch(t.Context(), "acme/api", task("first", 0)) // Else the launch may wait for the image, too.
	s.succeeds(soon, "first")
	s.faults(fault.Rule{Op: "github.generate-jitconfig", Error: "502", Times: 1})
	s.dispatch(t.Context(), "acme/api", task("traced", 0))
	s.succeeds(soon, "traced")
	job, sandboxes := s.job(t.Context(), "traced"), s.modal(t.Context()).Sandboxes
	id := strconv.FormatInt(job.ID, 10)
	if len(sandboxes) != 2 || sandboxes[1].Tags["job-id"] != id {
		t.Fatalf("the second of two sandboxes is not the traced job's: %+v", sandboxes)
	}
	var trace []span
	eventually(t, "the trace is there as far as the sandbox", func(context.Context) bool {
		trace = c.traceOf("create sandbox", id)
		return slices.ContainsFunc(trace, func(s span) bool { return s.of("launch runner") && s.attributes["outcome"] == "launched" }) &&
			len(trace) == 9
	})
	server, producer, consumer := tracev1.Span_SPAN_KIND_SERVER, tracev1.Span_SPAN_KIND_PRODUCER, tracev1.Span_SPAN_KIND_CONSUMER
	internal, client := tracev1.Span_SPAN_KIND_INTERNAL, tracev1.Span_SPAN_KIND_CLIENT
	want := []string{
		lineOf(0, "ingress", "webhook", server, false),
		lineOf(1, "ingress", "publish jobs", producer, false),
		lineOf(2, "worker", "handle queued-default", consumer, false),
		lineOf(3, "worker", "launch runner", internal, true),
		lineOf(4, "worker", "register runner", client, true),
		lineOf(3, "worker", "handle queued-default", consumer, false),
		lineOf(4, "worker", "launch runner", internal, false),
		lineOf(5, "worker", "register runner", client, false),
		lineOf(5, "worker", "create sandbox", client, false),
	}
	if diff := cmp.Diff(want, tree(trace, "", 0)); diff != "" {
		t.Error(diff)
	}
	for _, s := range trace {
		if s.service == "worker" && (s.attributes["job_id"] != id || s.attributes["run_id"] != strconv.FormatInt(job.RunID, 10)) {
			t.Errorf("%s names the job %s of the run %s, want %d of %d", s.name, s.attributes["job_id"], s.attributes["run_id"], job.ID, job.RunID)
		}
		if s.of("create sandbox") && s.attributes["sandbox_id"] != sandboxes[1].ID {
			t.Errorf("the sandbox is %q, want %q", s.attributes["sandbox_id"], sandboxes[1].ID)
		}
	}
}

// collector takes traces as OTLP over HTTP.
type collector struct {
	url string

	mu     sync.Mutex
	bodies [][]byte
	spans  []span
	err    error
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.take(body, err)
	}))
	c.url = server.URL
	t.Cleanup(func() {
		server.Close()
		if c.err != nil {
			t.Error(c.err)
		}
	})
	return c
}

// env has ingresses and workers send their spans as soon as they have ended.
func (c *collector) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=50"}
}

func (c *collector) take(body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, body)
	var request collectorv1.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &request)
	}
	if err != nil {
		c.err = fmt.Errorf("export of traces: %w", err)
	}
	for _, resource := range request.GetResourceSpans() {
		service := attributesOf(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, span{
					service: service, name: s.GetName(), kind: s.GetKind(), failed: s.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR,
					trace: hex.EncodeToString(s.GetTraceId()), id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
					began: s.GetStartTimeUnixNano(), attributes: attributesOf(s.GetAttributes()),
				})
			}
		}
	}
}

// all is what was sent, byte by byte.
func (c *collector) all() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.bodies...)
}

// traceOf are the spans of the trace that has one of that name for the job, in the order in which they began.
func (c *collector) traceOf(name, job string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := slices.IndexFunc(c.spans, func(s span) bool { return s.of(name) && s.attributes["job_id"] == job })
	if n < 0 {
		return nil
	}
	id := c.spans[n].trace
	trace := slices.DeleteFunc(slices.Clone(c.spans), func(s span) bool { return s.trace != id })
	slices.SortFunc(trace, func(a, b span) int { return int(int64(a.began) - int64(b.began)) })
	return trace
}

// span is one, as its service sent it.
type span struct {
	service, name, trace, id, parent string
	kind                             tracev1.Span_SpanKind
	failed                           bool
	began                            uint64 // in ns since 1970
	attributes                       map[string]string
}

func (s span) of(name string) bool { return s.name == name }

// tree has a line for each span below the parent, those below it after it.
func tree(trace []span, parent string, depth int) (lines []string) {
	for _, s := range trace {
		if s.parent == parent {
			lines = append(lines, lineOf(depth, s.service, s.name, s.kind, s.failed))
			lines = append(lines, tree(trace, s.id, depth+1)...)
		}
	}
	return lines
}

func lineOf(depth int, service, name string, kind tracev1.Span_SpanKind, failed bool) string {
	return fmt.Sprintf("%*s%s: %s %v failed=%v", 2*depth, "", service, name, kind, failed)
}

func attributesOf(pairs []*commonv1.KeyValue) map[string]string {
	attributes := map[string]string{}
	for _, pair := range pairs {
		switch value := pair.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			attributes[pair.GetKey()] = value.StringValue
		case *commonv1.AnyValue_IntValue:
			attributes[pair.GetKey()] = strconv.FormatInt(value.IntValue, 10)
		}
	}
	return attributes
}
