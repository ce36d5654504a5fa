package obs

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"modal-github-runner/services/internal/config"
)

// TraceConfig is the operator's part of tracing, in OpenTelemetry's names and forms
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). Its SDK and exporter read the sampler, the attributes and
// all other OTEL_* variables themselves, and pass over what they can't read; so what goes wrong most is checked here.
type TraceConfig struct {
	Endpoint       *url.URL      `doc:"OTLP/HTTP collector; without one nothing is traced" env:"OTEL_EXPORTER_OTLP_ENDPOINT" schemes:"http,https"`
	TracesEndpoint *url.URL      `doc:"the same, for traces only, with the whole path" env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" schemes:"http,https"`
	Headers        config.Secret `doc:"headers for the collector: name=value, comma-separated, percent-encoded; read at the start only" env:"OTEL_EXPORTER_OTLP_HEADERS"`
	TracesHeaders  config.Secret `doc:"the same, for traces only" env:"OTEL_EXPORTER_OTLP_TRACES_HEADERS"`
	Protocol       string        `default:"http/protobuf" doc:"http/protobuf or http/json" env:"OTEL_EXPORTER_OTLP_PROTOCOL"`
	Sampler        string        `default:"parentbased_always_on" doc:"which traces are kept: (parentbased_)always_on, always_off or traceidratio" env:"OTEL_TRACES_SAMPLER"`
	SamplerArg     string        `doc:"the share of traces that traceidratio keeps, 0 to 1" env:"OTEL_TRACES_SAMPLER_ARG"`
	Attributes     string        `doc:"attributes of the process in traces: name=value, comma-separated, percent-encoded" env:"OTEL_RESOURCE_ATTRIBUTES"`
}

var (
	// headerName is the token of RFC 9110, 5.6.2.
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

	errPairs       = errors.New("must be name=value pairs with commas between them, and %XX only for a byte")
	errHeaderName  = errors.New("must have names that HTTP allows")
	errHeaderValue = errors.New("must have values without control characters")
)

const traceIDRatio = "traceidratio"

// Validate implements [config.Validator].
func (c TraceConfig) Validate() error {
	var errs []error
	if _, err := parseHeaders(c.Headers.Reveal()); err != nil {
		errs = append(errs, config.Broken(err.Error(), "OTEL_EXPORTER_OTLP_HEADERS"))
	}
	if _, err := parseHeaders(c.TracesHeaders.Reveal()); err != nil {
		errs = append(errs, config.Broken(err.Error(), "OTEL_EXPORTER_OTLP_TRACES_HEADERS"))
	}
	if !slices.Contains([]string{"http/protobuf", "http/json"}, c.Protocol) {
		errs = append(errs, config.Invalid("OTEL_EXPORTER_OTLP_PROTOCOL", "must be http/protobuf or http/json", c.Protocol))
	}
	kind := strings.TrimPrefix(c.Sampler, "parentbased_")
	if !slices.Contains([]string{"always_on", "always_off", traceIDRatio}, kind) {
		errs = append(errs, config.Invalid("OTEL_TRACES_SAMPLER",
			"must be always_on, always_off or traceidratio, with or without parentbased_ before it", c.Sampler))
	}
	if kind == traceIDRatio && c.SamplerArg != "" && !isShare(c.SamplerArg) {
		errs = append(errs, config.Invalid("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1", c.SamplerArg))
	}
	if _, err := parsePairs(c.Attributes); err != nil {
		errs = append(errs, config.Invalid("OTEL_RESOURCE_ATTRIBUTES", err.Error(), c.Attributes))
	}
	return errors.Join(errs...)
}

func isShare(text string) bool {
	share, err := strconv.ParseFloat(text, 64)
	return err == nil && share >= 0 && share <= 1
}

// endpoint is where traces go to, nil if nowhere.
func (c TraceConfig) endpoint() *url.URL {
	switch {
	case c.TracesEndpoint != nil:
		return c.TracesEndpoint
	case c.Endpoint != nil:
		return c.Endpoint.JoinPath("v1/traces")
	default:
		return nil
	}
}

// headers are what goes with traces, nil if there are none. Those for traces only take the place of the others.
func (c TraceConfig) headers() (map[string]string, error) {
	if !c.TracesHeaders.IsZero() {
		return parseHeaders(c.TracesHeaders.Reveal())
	}
	return parseHeaders(c.Headers.Reveal())
}

// parseHeaders returns an error that says nothing of text, which holds credentials.
func parseHeaders(text string) (map[string]string, error) {
	headers, err := parsePairs(text)
	for name, value := range headers {
		switch {
		case !headerName.MatchString(name):
			return nil, errHeaderName
		case strings.ContainsFunc(value, unicode.IsControl):
			return nil, errHeaderValue
		}
	}
	return headers, err
}

// parsePairs reads OpenTelemetry's lists, a=1,b=%32; blanks around names and values do not count.
func parsePairs(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no pairs are no error
	}
	pairs := map[string]string{}
	for item := range strings.SplitSeq(text, ",") {
		name, escaped, found := strings.Cut(item, "=")
		value, err := url.PathUnescape(escaped)
		if !found || err != nil || strings.TrimSpace(name) == "" {
			return nil, errPairs
		}
		pairs[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return pairs, nil
}
