package webhook_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"modal-github-runner/services/ingress/internal/webhook"
	"modal-github-runner/services/internal/faultstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cases is the table of the package's comment, and the attacks on it, row by row.
func cases(t *testing.T) map[string]struct {
	request   func(*rig) *http.Request
	status    int
	outcome   webhook.Outcome // empty: not a delivery
	published bool
} {
	t.Helper()
	queued := ours(t)
	type row = struct {
		request   func(*rig) *http.Request
		status    int
		outcome   webhook.Outcome
		published bool
	}
	// with is the good request after a change.
	with := func(change func(*http.Request)) func(*rig) *http.Request {
		return func(*rig) *http.Request {
			r := signed(queued)
			change(r)
			return r
		}
	}
	header := func(name, value string) func(*rig) *http.Request {
		return with(func(r *http.Request) { r.Header.Set(name, value) })
	}
	twice := func(name string) func(*rig) *http.Request {
		return with(func(r *http.Request) { r.Header.Add(name, r.Header.Get(name)) })
	}
	body := func(b string) func(*rig) *http.Request {
		return func(*rig) *http.Request { return signed(b) }
	}
	changed := func(from, to string) func(*rig) *http.Request { return body(replace(t, queued, from, to)) }
	labels := func(list string) func(*rig) *http.Request { return changed(`["Modal", "ubuntu-latest"]`, list) }
	return map[string]row{
		"a job of ours is accepted":              {body(queued), 202, webhook.Published, true},
		"the previous secret still counts":       {header("X-Hub-Signature-256", sign("previous", queued)), 202, webhook.Published, true},
		"a charset is no encoding":               {header("Content-Type", "application/json; charset=utf-8"), 202, webhook.Published, true},
		"identity is no encoding":                {header("Content-Encoding", "identity"), 202, webhook.Published, true},
		"GitHub's sha1 beside ours does no harm": {header("X-Hub-Signature", "sha1=00"), 202, webhook.Published, true},
		"the last of two equal keys counts":      {changed(`"action": "queued"`, `"action": "queued", "action": "created"`), 202, webhook.IgnoredAction, false},
		"a job with other labels is ignored":     {body(payload(t, "workflow_job/queued.payload.json")), 202, webhook.IgnoredLabel, false},
		"a repository not allowed is ignored":    {changed(`"full_name": "Codertocat/`, `"full_name": "Stranger/`), 202, webhook.IgnoredPolicy, false},
		"another action is ignored":              {changed(`"action": "queued"`, `"action": "created"`), 202, webhook.IgnoredAction, false},
		"another event is ignored unread":        {with(func(r *http.Request) { *r = *signed("?"); r.Header.Set("X-Github-Event", "push") }), 202, webhook.IgnoredAction, false},
		"an event of any name is no label":       {header("X-Github-Event", "evil\x00"), 202, webhook.IgnoredAction, false},
		"a ping is answered": {with(func(r *http.Request) {
			*r = *signed(payload(t, "other/ping.json"))
			r.Header.Set("X-Github-Event", "ping")
		}), 200, webhook.Pinged, false},
		"A01 no signature":            {with(func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }), 401, webhook.BadSignature, false},
		"A02 a wrong signature":       {header("X-Hub-Signature-256", sign("wrong", queued)), 401, webhook.BadSignature, false},
		"A02 the empty key is no key": {header("X-Hub-Signature-256", sign("", queued)), 401, webhook.BadSignature, false},
		"A03 only SHA-1": {with(func(r *http.Request) {
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set("X-Hub-Signature", "sha1="+strings.Repeat("0", 40))
		}), 401, webhook.BadSignature, false},
		"A03 SHA-1 in the new header": {header("X-Hub-Signature-256", "sha1="+strings.Repeat("0", 40)), 401, webhook.BadSignature, false},
		"A04 an empty signature":      {header("X-Hub-Signature-256", "sha256="), 401, webhook.BadSignature, false},
		"A04 an odd number of digits": {header("X-Hub-Signature-256", sign(secret, queued)[:70]), 401, webhook.BadSignature, false},
		"A04 no digits":               {header("X-Hub-Signature-256", "sha256="+strings.Repeat("z", 64)), 401, webhook.BadSignature, false},
		"A04 upper-case digits":       {header("X-Hub-Signature-256", "sha256="+strings.ToUpper(sign(secret, queued)[7:])), 401, webhook.BadSignature, false},
		"A04 two signatures":          {twice("X-Hub-Signature-256"), 400, webhook.Malformed, false},
		"A05 signed over other bytes": {header("X-Hub-Signature-256", sign(secret, "\ufeff"+queued)), 401, webhook.BadSignature, false},
		"A05 a byte order mark":       {body("\ufeff" + queued), 400, webhook.Malformed, false},
		"A05 compressed":              {header("Content-Encoding", "gzip"), 415, webhook.Malformed, false},
		"A06 a form":                  {header("Content-Type", "application/x-www-form-urlencoded"), 415, webhook.Malformed, false},
		"A06 no content type":         {with(func(r *http.Request) { r.Header.Del("Content-Type") }), 415, webhook.Malformed, false},
		"A06 two content types":       {twice("Content-Type"), 415, webhook.Malformed, false},
		"A07 too large, declared":     {with(func(r *http.Request) { r.ContentLength = maxBody + 1; r.Body = io.NopCloser(unreadable{}) }), 413, webhook.TooLarge, false},
		"A07 too large, chunked":      {with(func(r *http.Request) { *r = *signed(strings.Repeat(" ", maxBody+1)); r.ContentLength = -1 }), 413, webhook.TooLarge, false},
		"A07 exactly the limit":       {body(queued + strings.Repeat(" ", maxBody-len(queued))), 202, webhook.Published, true},
		"F17 the client goes away":    {with(func(r *http.Request) { r.Body = io.NopCloser(unreadable{}) }), 400, webhook.Malformed, false},
		"A08 too many at work":        {func(r *rig) *http.Request { r.occupy(places); return signed(queued) }, 503, webhook.Throttled, false},
		"A08 too many at work are no matter of strangers": {func(r *rig) *http.Request {
			r.occupy(places)
			bad := signed(queued)
			bad.Header.Del("X-Hub-Signature-256")
			return bad
		}, 401, webhook.BadSignature, false},
		"A08 bodies that are not given up leave no room": {func(r *rig) *http.Request { r.fill(); return signed(queued) }, 503, webhook.Throttled, false},
		"A09 another path":                        {with(func(r *http.Request) { r.URL.Path = "/" }), 404, "", false},
		"A09 a path below":                        {with(func(r *http.Request) { r.URL.Path += "/" }), 404, "", false},
		"A28 no metrics in public":                {with(func(r *http.Request) { r.URL.Path = "/metrics" }), 404, "", false},
		"A09 GET":                                 {with(func(r *http.Request) { r.Method = http.MethodGet }), 405, "", false},
		"A09 TRACE":                               {with(func(r *http.Request) { r.Method = http.MethodTrace }), 405, "", false},
		"A12 no JSON":                             {body("{"), 400, webhook.Malformed, false},
		"A12 nothing":                             {body(""), 400, webhook.Malformed, false},
		"A12 null":                                {body("null"), 400, webhook.Malformed, false},
		"A12 two documents":                       {body(queued + queued), 400, webhook.Malformed, false},
		"A12 deep nesting":                        {body(strings.Repeat("[", maxBody)), 400, webhook.Malformed, false},
		"A12 deep nesting in a field we skip":     {changed(`"action": "queued"`, `"action": "queued", "x": `+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)), 400, webhook.Malformed, false},
		"A12 invalid UTF-8":                       {changed(`"Modal"`, "\"Modal\xff\""), 400, webhook.Malformed, false},
		"A12 NUL in a label":                      {changed(`"Modal"`, `"Modal\u0000"`), 400, webhook.Malformed, false},
		"A12 an id beyond all numbers":            {changed(`"id": 289782451`, `"id": 1e400`), 400, webhook.Malformed, false},
		"A12 an id beyond int64":                  {changed(`"id": 289782451`, `"id": 9223372036854775808`), 400, webhook.Malformed, false},
		"A12 a negative id":                       {changed(`"id": 289782451`, `"id": -1`), 400, webhook.Malformed, false},
		"A13 an id as text":                       {changed(`"id": 289782451`, `"id": "289782451"`), 400, webhook.Malformed, false},
		"A13 labels as an object":                 {labels(`{"modal": 1}`), 400, webhook.Malformed, false},
		"A14 labels without end":                  {labels(`["modal"` + strings.Repeat(`,"x"`, 100) + `]`), 400, webhook.Malformed, false},
		"A14 as many labels as may be":            {labels(`["modal"` + strings.Repeat(`,"x"`, 99) + `]`), 202, webhook.Published, true},
		"A14 a label without end":                 {labels(`["modal","` + strings.Repeat("x", 257) + `"]`), 400, webhook.Malformed, false},
		"A14 an empty label":                      {labels(`["modal",""]`), 400, webhook.Malformed, false},
		"A14 a line break in a label":             {labels(`["modal\nx"]`), 400, webhook.Malformed, false},
		"A14 a shell's characters are only text":  {labels(`["modal","; rm -rf $HOME ../"]`), 202, webhook.Published, true},
		"A14 a look-alike is another label":       {labels(`["m\u043edal"]`), 202, webhook.IgnoredLookAlike, false},
		"A15 a subject in a label":                {labels(`["modal","jobs.>","*"]`), 202, webhook.Published, true},
		"A15 a subject in a repository's name":    {changed(`"full_name": "Codertocat/Hello-World"`, `"full_name": "Codertocat/jobs.>"`), 400, webhook.Malformed, false},
		"A17 a line break in a repository's name": {changed(`"full_name": "Codertocat/Hello-World"`, `"full_name": "Codertocat/x\r\ny"`), 400, webhook.Malformed, false},
		"a bad time":                              {changed(`"started_at": "`, `"started_at": "yesterday`), 400, webhook.Malformed, false},
		"no delivery id":                          {with(func(r *http.Request) { r.Header.Del("X-Github-Delivery") }), 400, webhook.Malformed, false},
		"two delivery ids":                        {twice("X-Github-Delivery"), 400, webhook.Malformed, false},
		"a strange delivery id":                   {header("X-Github-Delivery", "a b"), 400, webhook.Malformed, false},
		"a long delivery id":                      {header("X-Github-Delivery", strings.Repeat("a", 65)), 400, webhook.Malformed, false},
		"no event":                                {with(func(r *http.Request) { r.Header.Del("X-Github-Event") }), 400, webhook.Malformed, false},
		"the queue does not answer":               {func(r *rig) *http.Request { r.queue.err = errQueue; return signed(queued) }, 503, webhook.QueueUnavailable, false},
		"F26 a bug":                               {func(r *rig) *http.Request { r.queue.panics = true; return signed(queued) }, 500, webhook.Failed, false},
	}
}

var (
	eventLabels  = []string{"workflow_job", "ping", "other", "unverified"}
	actionLabels = []string{"queued", "waiting", "in_progress", "completed", "other", "unverified"}
)

func TestEveryRequestGetsTheAnswerOfTheTable(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F16", "F17", "F26", "F27")
	for name, test := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			request := test.request(r)
			atWork, held := r.inFlight.Now(), r.bodies.Held()
			response := r.send(request)
			if response.Code != test.status || (len(r.queue.stored) == 1) != test.published {
				t.Errorf("status %d, %d published; log:\n%s", response.Code, len(r.queue.stored), r.log.String())
			}
			if retry := response.Header().Get("Retry-After"); (retry != "") != (test.status == 503) {
				t.Errorf("Retry-After = %q", retry)
			}
			switch {
			case test.outcome == "" && len(r.deliveries) != 0:
				t.Errorf("counted as %v", r.deliveries)
			case test.outcome != "" && (len(r.deliveries) != 1 || r.deliveries[0].Outcome != test.outcome || r.log.Len() == 0):
				t.Errorf("counted as %v; log:\n%s", r.deliveries, r.log.String())
			}
			for _, d := range r.deliveries {
				if !slices.Contains(eventLabels, d.Event) || !slices.Contains(actionLabels, d.Action) {
					t.Errorf("labels %q %q", d.Event, d.Action)
				}
			}
			if said := response.Body.String(); len(said) > 30 || strings.Contains(r.log.String(), "canary") || strings.Contains(said, "canary") {
				t.Errorf("answer %q; log:\n%s", said, r.log.String())
			}
			if r.inFlight.Now() != atWork || r.bodies.Held() != held {
				t.Errorf("%d at work and %d bytes held, want %d and %d as before", r.inFlight.Now(), r.bodies.Held(), atWork, held)
			}
		})
	}
}

func TestARedeliveryIsAcceptedAndStoredOnce(t *testing.T) {
	t.Parallel()
	faultstest.Cover(t, "F02")
	r := newRig(t)
	queued := ours(t)
	for _, want := range []webhook.Outcome{webhook.Published, webhook.Duplicate} {
		if response := r.send(signed(queued)); response.Code != 202 || response.Body.String() != "accepted\n" {
			t.Errorf("%d %s", response.Code, response.Body)
		}
		if last := r.deliveries[len(r.deliveries)-1]; last.Outcome != want {
			t.Errorf("outcome %s, want %s", last.Outcome, want)
		}
	}
}

func TestPublishedPayloadsAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"completed.failure.with-organization.payload.json": "ACTION_COMPLETED 289782451 failure GitHub Actions 5 Codertocat/Hello-World [ubuntu-latest]",
		"completed.success.with-organization.payload.json": "ACTION_COMPLETED 289782451 success GitHub Actions 5 Codertocat/Hello-World [ubuntu-latest]",
		"in_progress.payload.json":                         "ACTION_IN_PROGRESS 289782451  GitHub Actions 5 Codertocat/Hello-World [ubuntu-latest]",
		"in_progress.with-queued-steps.payload.json":       "ACTION_IN_PROGRESS 14541957942  GitHub Actions 6 wolfy1339/github-events-schemas [ubuntu-latest]",
		"queued.payload.json":                              "ACTION_QUEUED 289782451  GitHub Actions 5 Codertocat/Hello-World [ubuntu-latest]",
		"queued.with-deployment.payload.json":              "ACTION_QUEUED 12877621891   lineville/elastic-machines-testing [self-hosted k8s]",
		"waiting.payload.json":                             "ACTION_WAITING 12877621891   lineville/elastic-machines-testing [self-hosted k8s]",
	} {
		body := payload(t, "workflow_job/"+name)
		ev, err := webhook.Decode([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := summary(ev); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		r := newRig(t)
		if response := r.send(signed(body)); response.Code != 202 || len(r.queue.stored) != 0 {
			t.Errorf("%s: %d, %d published", name, response.Code, len(r.queue.stored))
		}
	}
}

func TestAnEventCarriesWhatTheWorkerDecidesBy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	response := r.send(signed(ours(t)))
	if len(r.queue.stored) != 1 {
		t.Fatalf("%d %s; log:\n%s", response.Code, response.Body, r.log.String())
	}
	ev := r.queue.stored[0]
	if ev.GetDeliveryId() != delivery || ev.GetPool() != "default" || ev.GetReceivedAt().AsTime().IsZero() || ev.GetRunId() == 0 ||
		ev.GetInstallationId() != 3456996 || ev.GetRepository().GetId() == 0 || ev.GetCreatedAt() == nil || ev.GetHeadSha() == "" {
		t.Errorf("event = %v", ev)
	}
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	body := replace(t, ours(t), `"runner_name": "GitHub Actions 5"`, `"runner_name": "x`+strings.Repeat("é", 300)+`"`)
	ev, err := webhook.Decode([]byte(body))
	if err != nil || ev.GetRunnerName() != "x"+strings.Repeat("é", 127) {
		t.Errorf("%d bytes, %v", len(ev.GetRunnerName()), err)
	}
}

func TestStrangersCanNotFloodTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request := func() *http.Request {
		bad := signed("{}")
		bad.Header.Set("X-Hub-Signature-256", "none")
		return bad
	}
	for range 100 {
		r.send(request())
	}
	if lines := bytes.Count(r.log.Bytes(), []byte("\n")); lines > 10 || len(r.deliveries) != 100 {
		t.Errorf("%d lines for %d deliveries", lines, len(r.deliveries))
	}
}

func TestAnswersDoNotTellWhatIsConfigured(t *testing.T) {
	t.Parallel()
	var answers []string
	for _, change := range [][2]string{
		{`"full_name": "Codertocat/`, `"full_name": "Stranger/`}, {`"action": "queued"`, `"action": "created"`}, {`"Modal", `, ``},
	} {
		response := newRig(t).send(signed(replace(t, ours(t), change[0], change[1])))
		answers = append(answers, response.Result().Status+response.Body.String())
	}
	if diff := cmp.Diff([]string{answers[0], answers[0], answers[0]}, answers); diff != "" {
		t.Error(diff)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errors.New("canary: connection reset") }

func BenchmarkVerifyDecodeDecide(b *testing.B) {
	body := []byte(ours(b))
	header := sign(secret, string(body))
	keys := benchKeys(b)
	p := policy("Codertocat/*", "Codertocat/Hello-World")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := keys.Verify(body, header); err != nil {
			b.Fatal(err)
		}
		ev, err := webhook.Decode(body)
		if err != nil {
			b.Fatal(err)
		}
		if v := webhook.Decide(ev, p); v.Pool != "default" {
			b.Fatal(v)
		}
	}
}
