package obs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// repeatAfter keeps a collector that is away for hours from filling the log: each export fails with the same words.
const repeatAfter = 10 * time.Minute

// redirectDiagnostics makes OpenTelemetry's own reports lines of log. Left alone it writes them to standard error, with the
// variables that it could not read in clear, headers with credentials among them. It knows only one place for the whole
// process, so this is the one thing here that is global.
func redirectDiagnostics(log *slog.Logger, headers map[string]string) {
	otel.SetLogger(logr.FromSlogHandler(messagesOnly{log}))
	otel.SetErrorHandler(&errorLog{log: log, headers: headers})
}

// messagesOnly keeps the messages of errors, which are constant, and drops what comes with them.
type messagesOnly struct{ log *slog.Logger }

func (messagesOnly) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (h messagesOnly) Handle(ctx context.Context, record slog.Record) error {
	h.log.WarnContext(ctx, "opentelemetry passed over a setting", slog.String("step", record.Message))
	return nil
}

func (h messagesOnly) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h messagesOnly) WithGroup(string) slog.Handler { return h }

// errorLog logs what goes wrong with traces, most of all their export, without the values of headers, in case the collector
// answers with what it was sent.
type errorLog struct {
	log     *slog.Logger
	headers map[string]string

	mu   sync.Mutex
	last string
	at   time.Time
}

// Handle implements [otel.ErrorHandler].
func (l *errorLog) Handle(err error) {
	text := err.Error()
	for _, value := range l.headers {
		if value != "" {
			text = strings.ReplaceAll(text, value, "[redacted]")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text == l.last && time.Since(l.at) < repeatAfter {
		return
	}
	l.last, l.at = text, time.Now()
	l.log.Warn("tracing reported an error", slog.String("err", text))
}
