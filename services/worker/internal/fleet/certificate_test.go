package fleet_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"modal-github-runner/services/internal/faultstest"
	"modal-github-runner/services/worker/internal/fleet"
	"modal-github-runner/services/worker/internal/run"
)

func TestANameOrACertificateOfModalsThatIsOutOfOrderMayBeMended(t *testing.T) {
	faultstest.Cover(t, "F23")
	expired := httptest.NewUnstartedServer(http.NotFoundHandler())
	expired.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // It would say that the client does not like the certificate.
	expired.TLS = &tls.Config{Certificates: []tls.Certificate{outdated(t)}, NextProtos: []string{"h2"}}
	expired.StartTLS()
	t.Cleanup(expired.Close)
	tests := []struct{ name, url, says string }{
		{"a name that no DNS knows", "https://modal..example", "name resolver error"}, // Nobody is asked for a name that can be none.
		{"a certificate that has expired", expired.URL, "certificate has expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(*fleet.Options) { t.Setenv("MODAL_SERVER_URL", tt.url) })
			_, err := r.fleet.Find(t.Context(), run.Name{Job: 1, Attempt: 1})
			_, permanent := errors.AsType[*run.PermanentError](err)
			_, limited := errors.AsType[*run.LimitedError](err)
			if err == nil || permanent || limited || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %T: %v", err, err)
			}
			r.see(func() {
				if len(r.calls) != 0 {
					t.Errorf("Modal was asked: %v", r.calls)
				}
			})
		})
	}
}

// outdated is a certificate for the loopback address, nobody's that anybody trusts.
func outdated(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(-time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
