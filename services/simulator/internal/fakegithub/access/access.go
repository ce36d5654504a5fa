// Package access decides who calls the simulated GitHub and what that caller may do: the App by its JWT, installations by
// the tokens that are issued here, people by personal tokens. It keeps tokens in memory and never shows one.
package access

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/world"
)

var errIssuer = errors.New("not an App's id")

// maxJWTLife is how far in the future an App's JWT may expire (GitHub Docs, "Generating a JSON Web Token").
const maxJWTLife = 10 * time.Minute

// Role is the kind of a caller.
type Role int

// The roles.
const (
	Anonymous Role = iota
	App
	Installed // an installation's token
	Personal  // a personal access token
)

// Identity is who calls. Its name is whom the limits count for.
type Identity struct {
	Role Role
	// App is the App's id: of the App itself, or whose installation it is.
	App   int64
	name  string
	grant Grant
}

// Grant is what an installation token allows.
type Grant struct {
	Installation world.Installation // narrowed to the repositories that were asked for
	Permissions  map[string]string  // "read" or "write" by name
	expires      time.Time
}

// Options of New.
type Options struct {
	Apps      map[int64]*rsa.PublicKey // by id
	TokenLife time.Duration
	Personal  []string // personal access tokens, which may do everything
}

// Desk checks credentials and issues tokens. It is safe for concurrent use.
type Desk struct {
	apps      map[int64]*rsa.PublicKey
	tokenLife time.Duration
	personal  map[string]bool

	mu     sync.Mutex
	issued map[string]Grant
}

// New makes a Desk.
func New(o Options) *Desk {
	d := &Desk{apps: o.Apps, tokenLife: o.TokenLife, personal: map[string]bool{}, issued: map[string]Grant{}}
	for _, t := range o.Personal {
		d.personal[t] = true
	}
	return d
}

// Caller is whose limits the identity's requests count against.
func (i Identity) Caller() ratelimit.Caller {
	return ratelimit.Caller{Name: i.name, Anonymous: i.Role == Anonymous}
}

// Identify reads the Authorization header. wantApp accepts the App's JWT alone. The error is a *reply.Error.
func (d *Desk) Identify(r *http.Request, wantApp bool) (Identity, error) {
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if wantApp {
		if !strings.EqualFold(scheme, "Bearer") {
			return Identity{}, reply.Fail(http.StatusUnauthorized, "A JSON web token could not be decoded")
		}
		app, err := d.verifyJWT(credential)
		return Identity{Role: App, App: app, name: "App " + strconv.FormatInt(app, 10)}, err
	}
	if scheme == "" {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return Identity{name: host}, nil
	}
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "token") {
		return Identity{}, reply.Fail(http.StatusUnauthorized, "Bad credentials")
	}
	if d.personal[credential] {
		return Identity{Role: Personal, name: "user ID 583231"}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t, known := d.issued[credential]
	if !known || !time.Now().Before(t.expires) {
		return Identity{}, reply.Fail(http.StatusUnauthorized, "Bad credentials")
	}
	return Identity{Role: Installed, App: t.Installation.App, grant: t, name: "installation ID " + strconv.FormatInt(t.Installation.ID, 10)}, nil
}

// verifyJWT applies GitHub's rules with GitHub's words, and returns whose JWT it is.
func (d *Desk) verifyJWT(token string) (app int64, err error) {
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) {
		app, _ = strconv.ParseInt(claims.Issuer, 10, 64)
		key, known := d.apps[app]
		if len(d.apps) > 0 && !known {
			return nil, errIssuer
		}
		return key, nil
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	now := time.Now()
	refuse := func(message string) (int64, error) { return 0, reply.Fail(http.StatusUnauthorized, "%s", message) }
	switch {
	case errors.Is(err, errIssuer):
		return refuse("'Issuer' claim ('iss') must be an Integer")
	case err != nil:
		return refuse("A JSON web token could not be decoded")
	case claims.IssuedAt == nil || claims.IssuedAt.After(now):
		return refuse("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	case claims.ExpiresAt == nil || !claims.ExpiresAt.After(now):
		return refuse("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case claims.ExpiresAt.After(now.Add(maxJWTLife)):
		return refuse("'Expiration time' claim ('exp') is too far in the future")
	}
	return app, nil
}

// May checks a permission: "name" to read, "name:write"; "" and "app" are open here. The error is a *reply.Error.
func (i Identity) May(permission string) error {
	if permission == "" || permission == "app" || i.Role == Personal {
		return nil
	}
	name, level, _ := strings.Cut(permission, ":")
	switch has := i.grant.Permissions[name]; {
	case i.Role == Anonymous:
		return reply.Fail(http.StatusUnauthorized, "Requires authentication")
	case has == "write" || (has == "read" && level == ""):
		return nil
	default:
		return reply.Fail(http.StatusForbidden, "Resource not accessible by integration")
	}
}

// Sees tells whether the repository exists for the caller.
func (i Identity) Sees(r world.Repo) bool {
	return i.Role == Personal || i.Role == App || !r.Private && i.Role == Anonymous || i.Role == Installed && i.grant.Installation.Covers(r)
}

// SeesOrg tells whether the organization exists for the caller.
func (i Identity) SeesOrg(o world.Owner) bool {
	return i.Role != Installed || strings.EqualFold(i.grant.Installation.Owner, o.Login)
}

// Issue makes a token in the long form that GitHub uses since 2026: ghs_, the App's id, and an opaque JWT.
func (d *Desk) Issue(t Grant) (string, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	t.expires = now.Add(d.tokenLife).Truncate(time.Second)
	for old, o := range d.issued {
		if !now.Before(o.expires) {
			delete(d.issued, old)
		}
	}
	var opaque strings.Builder
	for range 18 { // about 480 characters
		opaque.WriteString(rand.Text())
	}
	text := opaque.String()
	token := fmt.Sprintf("ghs_%d_%s.%s.%s", t.Installation.App, text[:36], text[36:400], text[400:])
	d.issued[token] = t
	return token, t.expires
}
