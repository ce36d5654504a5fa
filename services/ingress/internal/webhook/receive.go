package webhook

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
)

const (
	// bodyWithin is how long a body may take after its headers. GitHub sends both at once, some 30 KiB for a job. It leaves
	// time to publish within answerWithin.
	bodyWithin = 3 * time.Second
	// maxDeliveryBytes has room for more than the GUIDs that GitHub sends.
	maxDeliveryBytes = 64
)

// receive reads, verifies and decides; d is done unless it is a job to publish. The body is not kept beyond that.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, d *Delivery) {
	source := h.options.Sources.Of(r)
	defer func() { h.options.Sources.Learn(source, d.Verified) }()
	// A writer without a connection has no deadlines, and nobody who could be slow. net/http lifts the deadline once the
	// body has come whole.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(d.received.Add(bodyWithin))
	if !isPlainJSON(r.Header) {
		d.refuse(http.StatusUnsupportedMediaType, Malformed, errors.New("body must be application/json without encoding"))
		return
	}
	if r.ContentLength > h.options.MaxBody {
		d.refuse(http.StatusRequestEntityTooLarge, TooLarge, errors.New("declared body is too large"))
		return
	}
	if h.options.Bodies.Short() && h.options.Sources.Suspect(source) {
		w.Header().Set("Connection", "close") // Otherwise net/http would wait for the body before it answers.
		d.throttle(SourceRate)
		return
	}
	arriving, ok := h.options.Bodies.Enter(func() { _ = control.SetReadDeadline(time.Now()) })
	if !ok {
		d.throttle(BodyRoom)
		return
	}
	defer arriving.Leave()
	body := h.read(http.MaxBytesReader(w, r.Body, h.options.MaxBody), arriving, d)
	if !d.done() && h.verify(r, body, d) {
		h.understand(body, d)
	}
}

// read returns a body that came whole; otherwise d is done.
func (h *Handler) read(from io.Reader, arriving *limit.Body, d *Delivery) []byte {
	body, err := io.ReadAll(&counted{from, arriving})
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch arrived := arriving.Arrived(); {
	case tooLarge:
		d.refuse(http.StatusRequestEntityTooLarge, TooLarge, errors.New("body is too large"))
	case !arrived:
		d.throttle(PushedOut)
	case errors.Is(err, os.ErrDeadlineExceeded):
		d.refuse(http.StatusBadRequest, Malformed, errors.New("body came too slowly"))
	case err != nil:
		d.refuse(http.StatusBadRequest, Malformed, errors.New("body was cut off"))
	}
	return body
}

// counted counts what is read from a body, and ends where the body is cut off.
type counted struct {
	from     io.Reader
	arriving *limit.Body
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if !c.arriving.Grow(n) {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func isPlainJSON(header http.Header) bool {
	contentType, encoding := header.Values("Content-Type"), header.Values("Content-Encoding")
	if len(contentType) != 1 || len(encoding) > 1 {
		return false
	}
	media, _, err := mime.ParseMediaType(contentType[0])
	plain := len(encoding) == 0 || strings.EqualFold(encoding[0], "identity")
	return err == nil && media == "application/json" && plain
}

// verify reports whether the body is signed and its headers make sense; otherwise d is done. The headers beside the
// signature are not signed, so the body alone says what happened; they select how it is read.
func (h *Handler) verify(r *http.Request, body []byte, d *Delivery) bool {
	signatures := r.Header.Values("X-Hub-Signature-256")
	if len(signatures) > 1 {
		d.refuse(http.StatusBadRequest, Malformed, errors.New("X-Hub-Signature-256: must come once"))
		return false
	}
	if err := h.options.Keys.Verify(body, strings.Join(signatures, "")); err != nil {
		d.refuse(http.StatusUnauthorized, BadSignature, err)
		return false
	}
	d.Verified = true
	events, ids := r.Header.Values("X-Github-Event"), r.Header.Values("X-Github-Delivery")
	if len(events) != 1 || len(ids) != 1 || !isDeliveryID(ids[0]) {
		d.refuse(http.StatusBadRequest, Malformed, errors.New("event and delivery id must come once, the latter a GUID"))
		return false
	}
	d.Event, d.Action, d.id = eventOf(events[0]), other, ids[0]
	return true
}

// isDeliveryID accepts GUIDs and what looks alike: the id becomes a message's header.
func isDeliveryID(id string) bool {
	strange := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
	}
	return id != "" && len(id) <= maxDeliveryBytes && !strings.ContainsFunc(id, strange)
}
