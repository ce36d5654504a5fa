// Package conditional saves GitHub requests whose answers have not changed. It is HTTP only: it knows no endpoint, and
// nothing that it remembers ever leaves the process.
package conditional

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

const (
	// maxRemembered bounds what all remembered answers hold, in bytes. A page of a hundred workflow runs, the largest
	// answer here, is one to two MiB.
	maxRemembered = 32 << 20
	// maxAnswer is the largest answer that is remembered, so that none drives all others out.
	maxAnswer = maxRemembered / 8
	// answerOverhead is about what an answer takes beside its body. It bounds the number of empty ones.
	answerOverhead = 2 << 10
)

// Transport asks GitHub for what it knows already only if that has changed. It remembers the answers to GET requests and
// their ETags; where GitHub says "not modified" it gives the remembered answer again, as if GitHub had sent it. Such a
// request costs nothing of the primary rate limit (docs.github.com, best practices for using the REST API).
//
// An answer is given only to whoever sends the same credentials, since it may be for nobody else's eyes. An App's own
// requests carry a new token each, so that nothing is saved on them; what is used least goes first. It is safe for
// concurrent use.
type Transport struct {
	next http.RoundTripper

	mu     sync.Mutex
	byKey  map[answerKey]*list.Element
	byAge  *list.List // Of *answer, the one used last in front.
	memory int
}

// answerKey is the hash of all that an answer depends on. It holds no credential.
type answerKey [sha256.Size]byte

// answer is what GitHub answered. It is never changed.
type answer struct {
	key    answerKey
	etag   string
	header http.Header
	body   []byte
}

func (a *answer) size() int { return len(a.body) + answerOverhead }

// New makes a Transport that sends its requests by next.
func New(next http.RoundTripper) *Transport {
	return &Transport{next: next, byKey: map[answerKey]*list.Element{}, byAge: list.New()}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.Header.Get("If-None-Match") != "" || req.Header.Get("Range") != "" {
		return t.next.RoundTrip(req)
	}
	key := keyOf(req)
	known := t.recall(key)
	if known != nil {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", known.etag)
	}
	resp, err := t.next.RoundTrip(req)
	switch {
	case err != nil:
		return nil, err
	case known != nil && resp.StatusCode == http.StatusNotModified:
		_ = resp.Body.Close() // It is empty.
		known.into(resp)
	case resp.StatusCode == http.StatusOK && resp.Header.Get("Etag") != "":
		return t.remember(key, resp)
	}
	return resp, nil
}

// remember reads the answer and keeps it, if it is not too large.
func (t *Transport) remember(key answerKey, resp *http.Response) (*http.Response, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	given := *resp
	given.Body = io.NopCloser(bytes.NewReader(body))
	made := &answer{key: key, etag: resp.Header.Get("Etag"), header: resp.Header.Clone(), body: body}
	if made.size() > maxAnswer {
		return &given, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(t.byKey[key])
	t.byKey[key] = t.byAge.PushFront(made)
	for t.memory += made.size(); t.memory > maxRemembered; {
		t.drop(t.byAge.Back())
	}
	return &given, nil
}

func (t *Transport) recall(key answerKey) *answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byKey[key]
	if !ok {
		return nil
	}
	t.byAge.MoveToFront(e)
	return answerIn(e)
}

// drop forgets what e holds; nil holds nothing. t.mu is held.
func (t *Transport) drop(e *list.Element) {
	if e == nil {
		return
	}
	old := answerIn(e)
	t.byAge.Remove(e)
	delete(t.byKey, old.key)
	t.memory -= old.size()
}

func answerIn(e *list.Element) *answer {
	a, _ := e.Value.(*answer) // byAge holds nothing else.
	return a
}

// into makes resp, a "not modified", the remembered answer, with what resp says anew in its header: the rate limit above
// all. What describes a body describes the remembered one.
func (a *answer) into(resp *http.Response) {
	header := a.header.Clone()
	for name, values := range resp.Header {
		if !strings.HasPrefix(name, "Content-") {
			header[name] = values
		}
	}
	resp.Status, resp.StatusCode = "200 OK", http.StatusOK
	resp.Header, resp.ContentLength = header, int64(len(a.body))
	resp.Body = io.NopCloser(bytes.NewReader(a.body))
}

func keyOf(req *http.Request) answerKey {
	h := req.Header
	return sha256.Sum256([]byte(strings.Join([]string{req.URL.String(), h.Get("Authorization"), h.Get("Accept")}, "\n")))
}
