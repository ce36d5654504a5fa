package natsx_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

// dialer fails as it is told, in turn, for ever.
type dialer struct {
	errs  []error
	dials atomic.Int32
}

func (d *dialer) Dial(_, _ string) (net.Conn, error) {
	return nil, d.errs[int(d.dials.Add(1)-1)%len(d.errs)]
}

func TestWhyThereIsNoConnectionIsSaidOnceForEachReason(t *testing.T) {
	t.Parallel()
	refusing := natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "ingress", "right" })
	wrong, err := url.Parse(refusing.URL())
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword("ingress", "canary")
	ports := make([]error, 100)
	for port := range ports {
		ports[port] = fmt.Errorf("read tcp 127.0.0.1:%d: timeout", port)
	}
	for name, test := range map[string]struct {
		url    *url.URL
		dialer *dialer
		want   string
		times  int
	}{
		"nobody is there":       {wrong, &dialer{errs: []error{errors.New("dial tcp: lookup nats: no such host")}}, "no such host", 1},
		"two reasons in turn":   {wrong, &dialer{errs: []error{errors.New("one refused"), errors.New("two refused")}}, "refused", 2},
		"ever another reason":   {wrong, &dialer{errs: ports}, "timeout", 8},
		"the password is wrong": {wrong, nil, "Authorization Violation", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out lines
			told := make(chan struct{})
			extra := []nats.Option{nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.ClosedHandler(func(*nats.Conn) { close(told) })}
			if test.dialer != nil {
				extra = append(extra, nats.SetCustomDialer(test.dialer))
			}
			conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{test.url}}, natsx.Options{
				Name: "test", Logger: slog.New(slog.NewTextHandler(&out, nil)), Registry: prometheus.NewRegistry(), Extra: extra,
			})
			if err != nil {
				t.Fatal(err)
			}
			if test.dialer != nil {
				poll(t, func() bool { return test.dialer.dials.Load() > 20 })
			}
			poll(t, func() bool { return out.contains(test.want) })
			conn.Close()
			<-told
			if got := out.String(); strings.Count(got, `level=WARN msg="nats not reached"`) != test.times || strings.Contains(got, "canary") {
				t.Errorf("log:\n%s", got)
			}
		})
	}
}

func TestALoginThatIsRefusedAfterAnOutageIsSaidOnce(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t, func(o *server.Options) { o.Username, o.Password = "ingress", "right" })
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out lines
	var asked atomic.Int32
	told := make(chan struct{})
	conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{address}}, natsx.Options{
		Name: "test", Logger: slog.New(slog.NewTextHandler(&out, nil)), Registry: prometheus.NewRegistry(),
		Extra: []nats.Option{
			nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.ClosedHandler(func(*nats.Conn) { close(told) }),
			nats.UserInfoHandler(func() (user, password string) {
				if asked.Add(1) == 1 {
					return "ingress", "right"
				}
				return "ingress", "canary"
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Stop()
	poll(t, func() bool { return !conn.IsConnected() })
	server.Restart(t)
	poll(t, func() bool { return asked.Load() > 5 })
	conn.Close()
	<-told
	if got := out.String(); strings.Count(got, `"nats: authorization violation"`) != 1 || strings.Contains(got, "canary") {
		t.Errorf("log:\n%s", got)
	}
}
