package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobsv1 "modal-github-runner/proto/jobs/v1"
	"modal-github-runner/services/ingress/internal/limit"
)

// Path is where GitHub sends webhooks to.
const Path = "/webhooks/github"

const (
	// answerWithin leaves GitHub, which waits 10 s, time to hear a refusal.
	answerWithin = 9 * time.Second
	// retryAfterSeconds is advice for proxies and people; GitHub does not retry by itself.
	retryAfterSeconds = 5
)

// Publisher stores events for the workers. A nil error means that ev is stored; duplicate, that it was stored before.
// After an error it may be stored or not. Publish must return soon after ctx ends.
type Publisher interface {
	Publish(ctx context.Context, ev *jobsv1.JobEvent) (duplicate bool, err error)
}

// Options is what a [Handler] works with. All fields are required, but for Repos of Policy.
type Options struct {
	Keys      *Keys
	Policy    Policy
	Publisher Publisher
	Bodies    *limit.Bodies   // what is not verified and decided about yet
	Sources   *limit.Sources  // who is refused first while Bodies is short
	InFlight  *limit.InFlight // what is being published
	Tenants   *limit.Tenants  // who is refused first while InFlight is short
	MaxBody   int64           // bytes
	Logger    *slog.Logger
	Tracer    trace.Tracer
	Observe   func(Delivery) // called once per delivery, after its answer
}

// Handler answers webhooks as the table of this package says. It is safe for concurrent use.
type Handler struct {
	options Options
	reports *reporter
}

// NewHandler returns a handler.
func NewHandler(o Options) *Handler { return &Handler{options: o, reports: newReporter(o)} }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != Path:
		answer(w, http.StatusNotFound, "not found\n")
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}
	ctx, span := h.options.Tracer.Start(r.Context(), "webhook", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	d := Delivery{Event: unverified, Action: unverified, received: time.Now()}
	defer func() {
		if bug := recover(); bug != nil {
			// The value of the panic may hold input; the stack does not.
			d.refuse(http.StatusInternalServerError, Failed, errors.New("panic"))
			d.stack = string(debug.Stack())
		}
		d.answer(w)
		h.reports.report(ctx, d)
	}()
	h.handle(ctx, w, r, &d)
}

// handle fills in d, in the order of the table.
func (h *Handler) handle(ctx context.Context, w http.ResponseWriter, r *http.Request, d *Delivery) {
	h.receive(w, r, d)
	if d.done() {
		return
	}
	leave := h.enter(d)
	if d.done() {
		return
	}
	defer leave()
	duplicate, err := h.options.Publisher.Publish(ctx, d.job)
	switch {
	case err != nil:
		d.refuse(http.StatusServiceUnavailable, QueueUnavailable, err)
	case duplicate:
		d.accept(http.StatusAccepted, Duplicate)
	default:
		d.accept(http.StatusAccepted, Published)
	}
}

// understand decides about a signed body; d is done unless it is a job to publish.
func (h *Handler) understand(body []byte, d *Delivery) {
	switch d.Event {
	case eventPing:
		d.accept(http.StatusOK, Pinged)
	case eventJob:
		h.understandJob(body, d)
	default:
		d.ignore(OtherEvent)
	}
}

func (h *Handler) understandJob(body []byte, d *Delivery) {
	ev, err := Decode(body)
	if err != nil {
		d.refuse(http.StatusBadRequest, Malformed, err)
		return
	}
	d.Action, d.job = actionLabel(ev.GetAction()), ev
	verdict := Decide(ev, h.options.Policy)
	ev.Pool, ev.DeliveryId, ev.ReceivedAt = verdict.Pool, d.id, timestamppb.New(d.received)
	if verdict.Reason != None {
		d.ignore(verdict.Reason)
	}
}

// enter takes a place for a job to publish; otherwise d is done. What tenants send is counted whether places are short or
// not, so that who sends much is known by the time it matters.
func (h *Handler) enter(d *Delivery) (leave func()) {
	enter, reached := h.options.InFlight.Enter, AtWork
	tenant := limit.TenantOf(d.job.GetInstallationId(), d.job.GetRepository().GetOwner())
	if !h.options.Tenants.Take(tenant) {
		enter, reached = h.options.InFlight.EnterBeyondRate, InstallationRate
	}
	leave, ok := enter()
	if !ok {
		d.throttle(reached)
	}
	return leave
}

// answer writes one of the constant bodies.
func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	w.WriteHeader(status)
	// An error means that the client has gone; the delivery is recorded as answered all the same.
	_, _ = io.WriteString(w, body)
}
