package fakegithub

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/services/simulator/internal/fakegithub/access"
	"modal-github-runner/services/simulator/internal/fakegithub/ratelimit"
	"modal-github-runner/services/simulator/internal/fakegithub/reply"
	"modal-github-runner/services/simulator/internal/fakegithub/runnerservice"
	"modal-github-runner/services/simulator/internal/fakegithub/shape"
	"modal-github-runner/services/simulator/internal/fault"
	"modal-github-runner/services/simulator/internal/world"
)

const (
	docs    = "https://docs.github.com/rest"
	maxBody = 1 << 20
	// enterprisePrefix is where GitHub Enterprise Server has the API.
	enterprisePrefix = "/api/v3"
)

// call is one request that has passed authentication and limits.
type call struct {
	*http.Request
	gh    *GitHub
	who   access.Identity
	links shape.Links
}

// answer of an operation. A body of []byte is sent as it is, anything else as JSON; nil sends none.
type answer struct {
	status int
	body   any
	link   string // the Link header
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

var errNotFound = reply.Fail(http.StatusNotFound, "Not Found")

// route is one operation. Its fault and counter are named "github." and op.
type route struct {
	pattern    string
	op         string
	permission string // of an installation token: "name" to read, "name:write"; "app" wants the App itself, "" is open
	do         func(*call) (answer, error)
}

func (g *GitHub) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range allRoutes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { g.serve(w, req, r) })
	}
	unknown := route{op: "unknown", do: func(*call) (answer, error) { return answer{}, errNotFound }}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) { g.serve(w, req, unknown) })
	return mux
}

func (g *GitHub) serve(w http.ResponseWriter, req *http.Request, r route) {
	w.Header().Set("X-Github-Request-Id", rand.Text())
	w.Header().Set("X-Github-Media-Type", "github.v3; format=json")
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	links := shape.Links{API: runnerservice.Base(req), HTML: runnerservice.Base(req)}
	if strings.HasPrefix(req.RequestURI, enterprisePrefix+"/") {
		links.API += enterprisePrefix
	}
	c := &call{Request: req, gh: g, links: links}
	out, err := g.admit(w, c, r)
	status := out.status
	if err != nil {
		status = g.writeError(w, err)
	} else if req.Context().Err() == nil {
		writeAnswer(w, out)
	}
	g.limits.Count("github."+r.op, status)
}

// admit lets a request through authentication, limits and faults to its operation.
func (g *GitHub) admit(w http.ResponseWriter, c *call, r route) (answer, error) {
	var err error
	if c.who, err = g.desk.Identify(c.Request, r.permission == "app"); err != nil {
		return answer{}, err
	}
	release, err := g.limits.Admit(w.Header(), c.who.Caller(), c.Method, r.op == "rate-limit")
	if err != nil {
		return answer{}, err
	}
	defer release()
	out := g.Faults.Next("github." + r.op)
	if err := sleep(c.Request, out.Latency); err != nil {
		return answer{}, err
	}
	if out.Error != "" && !out.After {
		return answer{}, faulted(out)
	}
	if err := c.who.May(r.permission); err != nil {
		return answer{}, err
	}
	ans, err := r.do(c)
	if out.Error != "" {
		return answer{}, faulted(out)
	}
	return ans, err
}

func sleep(r *http.Request, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// faulted makes the error that a fault asks for; 429 is a secondary limit as GitHub answers it.
func faulted(o fault.Outcome) error {
	n, err := strconv.Atoi(o.Error)
	switch {
	case err != nil || n < 400 || n > 599:
		return reply.Fail(http.StatusInternalServerError, "Server Error")
	case n == http.StatusTooManyRequests:
		return ratelimit.Secondary(n)
	case n == http.StatusForbidden:
		return reply.Fail(n, "Resource not accessible by integration")
	default:
		return reply.Fail(n, "%s", http.StatusText(n))
	}
}

func (g *GitHub) writeError(w http.ResponseWriter, err error) int {
	e, isAPI := errors.AsType[*reply.Error](err)
	if !isAPI {
		e = &reply.Error{Status: http.StatusInternalServerError, Message: "Server Error"}
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	writeAnswer(w, answer{status: e.Status, body: shape.Object{
		"message": e.Message, "documentation_url": docs + e.Doc, "status": strconv.Itoa(e.Status),
	}})
	return e.Status
}

func writeAnswer(w http.ResponseWriter, a answer) {
	if a.link != "" {
		w.Header().Set("Link", a.link)
	}
	if raw, isRaw := a.body.([]byte); isRaw {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(a.status)
		_, _ = w.Write(raw) // the only error is a client that went away
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	if a.body != nil {
		_ = json.NewEncoder(w).Encode(a.body) // the only error is a client that went away
	}
}

// repo finds the repository of the path, as far as the caller may see it.
func (c *call) repo() (world.Repo, error) {
	r, found := c.gh.World.Repo(c.PathValue("owner"), c.PathValue("repo"))
	if !found || !c.who.Sees(r) {
		return world.Repo{}, errNotFound
	}
	return r, nil
}

// scope finds the repository, organization or enterprise of the path as a scope of runners.
func (c *call) scope() (world.Scope, error) {
	if slug := c.PathValue("enterprise"); slug != "" {
		if !c.gh.World.Enterprise(slug) {
			return world.Scope{}, errNotFound
		}
		return world.Scope{Enterprise: slug}, nil
	}
	if c.PathValue("org") == "" {
		r, err := c.repo()
		return world.Scope{Owner: r.Owner, Repo: r.Name}, err
	}
	o, found := c.gh.World.Owner(c.PathValue("org"))
	if !found || !o.Org || !c.who.SeesOrg(o) {
		return world.Scope{}, errNotFound
	}
	return world.Scope{Owner: o.Login}, nil
}

// id reads a number of the path.
func (c *call) id(name string) (int64, error) {
	n, err := strconv.ParseInt(c.PathValue(name), 10, 64)
	if err != nil {
		return 0, errNotFound
	}
	return n, nil
}

// perPage is 1 to 100, 30 by default, and like GitHub's forgives anything else.
func (c *call) perPage() int {
	n, err := strconv.Atoi(c.URL.Query().Get("per_page"))
	if err != nil || n < 1 {
		return 30
	}
	return min(n, 100)
}

// list answers with the asked page of all, under name and beside their number.
func list[T any](c *call, name string, all []T, render func(T) shape.Object) answer {
	some, link := page(c, all)
	out := make([]shape.Object, len(some))
	for n, one := range some {
		out[n] = render(one)
	}
	return answer{status: http.StatusOK, link: link, body: shape.Object{"total_count": len(all), name: out}}
}

// page cuts the asked page out of all, and makes the Link header for the others.
func page[T any](c *call, all []T) ([]T, string) {
	size := c.perPage()
	n, err := strconv.Atoi(c.URL.Query().Get("page"))
	if err != nil || n < 1 {
		n = 1
	}
	last := max(1, (len(all)+size-1)/size)
	var links []string
	add := func(rel string, to int) { links = append(links, c.linkTo(rel, "page", strconv.Itoa(to))) }
	if n > 1 {
		add("prev", min(n-1, last))
		add("first", 1)
	}
	if n < last {
		add("next", n+1)
		add("last", last)
	}
	from := min((n-1)*size, len(all))
	return all[from:min(from+size, len(all))], strings.Join(links, ", ")
}

func (c *call) linkTo(rel, key, value string) string {
	q := c.URL.Query()
	q.Set(key, value)
	u := url.URL{Path: c.URL.Path, RawQuery: q.Encode()}
	return fmt.Sprintf("<%s%s>; rel=%q", c.links.API, u.String(), rel)
}
