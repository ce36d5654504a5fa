package natsx_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/internal/natstest"
	"modal-github-runner/services/internal/natsx"
)

// Neither ends a service: it is not ready, and is as soon as somebody has mended that.
func TestANameOrACertificateThatIsOutOfOrderIsWaitedFor(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F23")
	authority := newAuthority(t)
	var shown atomic.Pointer[tls.Certificate]
	shown.Store(authority.certificate(t, time.Now().Add(-time.Hour)))
	broker := natstest.Start(t, func(o *server.Options) {
		o.TLS, o.TLSConfig = true, &tls.Config{
			MinVersion:     tls.VersionTLS13,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil },
		}
	})
	_, port, err := net.SplitHostPort(mustParse(t, broker.URL()).Host)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, url string
		tries     int32  // that the client tells of
		mend      func() // nil if nobody can
	}{
		{"a name that no DNS knows", "tls://nats..example:4222", 3, nil}, // Nobody is asked for a name that can be none.
		{"a certificate that has expired", "tls://127.0.0.1:" + port, 1, func() { shown.Store(authority.certificate(t, time.Now().Add(time.Hour))) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tries atomic.Int32
			conn, err := natsx.Connect(natsx.Config{URL: []*url.URL{mustParse(t, tt.url)}, CAFile: authority.file}, natsx.Options{
				Name: "test", Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
				Extra: []nats.Option{
					nats.ReconnectWait(20 * time.Millisecond),
					nats.ReconnectErrHandler(func(*nats.Conn, error) { tries.Add(1) }),
				},
			})
			if err != nil {
				t.Fatalf("it can be mended, and ends the service: %v", err)
			}
			t.Cleanup(conn.Close)
			poll(t, func() bool { return tries.Load() >= tt.tries })
			if err := natsx.Connected(conn)(t.Context()); err == nil {
				t.Error("connected")
			}
			if tt.mend != nil {
				tt.mend()
				poll(t, conn.IsConnected)
			}
		})
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// authority signs certificates for the loopback address. Its own is in a file.
type authority struct {
	template *x509.Certificate
	key      ed25519.PrivateKey
	file     string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem"), template: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.template, a.template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// certificate is valid until then.
func (a *authority) certificate(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.template, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
