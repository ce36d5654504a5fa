// Package auth issues and checks the credentials and tokens of the simulated Modal.
//
// No other package reads them from a call, and none of its errors shows one.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Audience is the service that a token is for.
type Audience string

// The two services.
const (
	ForControlPlane  Audience = "control-plane"
	ForCommandRouter Audience = "command-router"
)

// Authority issues and checks tokens. It is safe for concurrent use.
type Authority struct {
	tokenID, tokenSecret string
	ttl                  time.Duration
	key                  []byte
}

// New returns the Authority of a workspace that accepts one pair of credentials; its tokens are good for ttl, in whole
// seconds. It derives the signing key from the secret, so that tokens stay good over a restart of the server: the
// SDK does not ask for a new one when a call is refused.
func New(tokenID, tokenSecret string, ttl time.Duration) *Authority {
	key := sha256.Sum256([]byte("signing key of " + tokenSecret))
	return &Authority{tokenID: tokenID, tokenSecret: tokenSecret, ttl: ttl, key: key[:]}
}

// Issue returns a token that names the subject: a token id for the control plane, a task's id for the command router.
func (a *Authority) Issue(subject string, to Audience) (string, error) {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: subject, Audience: jwt.ClaimStrings{string(to)},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(a.ttl)),
	}).SignedString(a.key)
	if err != nil {
		return "", status.Errorf(codes.Internal, "sign a token: %v", err)
	}
	return token, nil
}

func (a *Authority) verify(token, subject string, to Audience) error {
	_, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return a.key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithAudience(string(to)), jwt.WithSubject(subject))
	if err != nil {
		return status.Errorf(codes.Unauthenticated, "token: %v", err)
	}
	return nil
}

// CheckClient checks a call to the control plane. Calls that answer with a stream carry the long-lived credentials
// only, and so does the one that exchanges them for a token; all others need one. The error is UNAUTHENTICATED.
func (a *Authority) CheckClient(ctx context.Context, needsToken bool) error {
	if equal(Header(ctx, "x-modal-token-id"), a.tokenID)&equal(Header(ctx, "x-modal-token-secret"), a.tokenSecret) != 1 {
		return status.Error(codes.Unauthenticated, "token id or token secret: not those of this workspace")
	}
	if token := Header(ctx, "x-modal-auth-token"); needsToken || token != "" {
		return a.verify(token, a.tokenID, ForControlPlane)
	}
	return nil
}

// CheckTask checks a call to the command router: its token must be the task's. The error is UNAUTHENTICATED.
func (a *Authority) CheckTask(ctx context.Context, taskID string) error {
	return a.verify(strings.TrimPrefix(Header(ctx, "authorization"), "Bearer "), taskID, ForCommandRouter)
}

func equal(a, b string) int { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) }

// Header returns the first value that the client sent under the name, or "".
func Header(ctx context.Context, name string) string {
	if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}
