package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// LogConfig is the operator's part of logging.
type LogConfig struct {
	Level  slog.Level `default:"info" doc:"least level logged: debug, info, warn, error"                     env:"LOG_LEVEL"`
	Format LogFormat  `default:"auto" doc:"json, text, or auto: text if standard output is a terminal, else json" env:"LOG_FORMAT"`
}

// LogFormat is the form of log lines; its zero value is "auto".
type LogFormat int

// The forms of log lines.
const (
	LogAuto LogFormat = iota
	LogJSON
	LogText
)

// UnmarshalText parses auto, json and text.
func (f *LogFormat) UnmarshalText(text []byte) error {
	for _, candidate := range []LogFormat{LogAuto, LogJSON, LogText} {
		if string(text) == candidate.String() {
			*f = candidate
			return nil
		}
	}
	return errors.New("must be auto, json or text")
}

// String implements [fmt.Stringer].
func (f LogFormat) String() string {
	switch f {
	case LogJSON:
		return "json"
	case LogText:
		return "text"
	case LogAuto:
	}
	return "auto"
}

// Service names one process in logs, metrics and traces.
type Service struct {
	Name     string // ingress, worker
	Instance string // which of several
	Build    Build
}

// ThisService is the running process under name. Its instance is the host's name and the process id, since several may run
// on one host; where it is process 1 it has a container, and the host's name, to itself.
func ThisService(name string) Service {
	instance, err := os.Hostname()
	if err != nil {
		instance = "unknown"
	}
	if pid := os.Getpid(); pid != 1 {
		instance += "-" + strconv.Itoa(pid)
	}
	return Service{Name: name, Instance: instance, Build: ReadBuild()}
}

// NewLogger returns a logger to w whose lines carry the service and, inside a span, its trace_id and span_id. Attributes
// whose key says that they hold a secret are redacted, as a second net behind the type config.Secret. Durations are
// seconds, like everywhere in metrics.
func NewLogger(w io.Writer, cfg LogConfig, svc Service) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level, ReplaceAttr: replaceAttr}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if cfg.Format == LogText || cfg.Format == LogAuto && isTerminal(w) {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(traceHandler{handler}).With(
		slog.String("service", svc.Name),
		slog.String("version", svc.Build.Version),
		slog.String("instance", svc.Instance),
	)
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func replaceAttr(groups []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		return slog.Float64(attr.Key, attr.Value.Duration().Seconds())
	}
	return redactByKey(groups, attr)
}

// redactByKey goes by the words of a key: github_token, jit_config and private_key are redacted, tokens_left is not.
func redactByKey(_ []string, attr slog.Attr) slog.Attr {
	key := strings.ToLower(attr.Key)
	for word := range strings.SplitSeq(key, "_") {
		switch word {
		case "authorization", "cookie", "credentials", "jit", "jitconfig", "password", "secret", "token":
			return slog.String(attr.Key, "[redacted]")
		}
	}
	if strings.HasSuffix(key, "private_key") || strings.HasSuffix(key, "api_key") {
		return slog.String(attr.Key, "[redacted]")
	}
	return attr
}

// traceHandler adds the ids of the span in the context.
type traceHandler struct{ slog.Handler }

func (h traceHandler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(
			slog.String("trace_id", span.TraceID().String()),
			slog.String("span_id", span.SpanID().String()),
		)
	}
	if err := h.Handler.Handle(ctx, record); err != nil {
		return fmt.Errorf("write log line: %w", err)
	}
	return nil
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}
