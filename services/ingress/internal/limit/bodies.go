package limit

import (
	"container/list"
	"sync"
)

// EntryCost is what a request is counted for before the first byte of its body: its headers, for which net/http takes up
// to 20 KiB from ingress' public listener, the buffers of its connection and its goroutines.
const EntryCost = 32 << 10

// Bodies bounds the memory of request bodies that nobody has vouched for yet. Where room lacks, the body that has been on
// its way longest is cut off: a sender that sends at once has its place for milliseconds, one that holds its body back
// loses it to those who come after. So strangers can't keep others out by being slow. There is no share per address,
// because behind a reverse proxy strangers and GitHub may have the same one; see [Sources].
//
// It is safe for concurrent use.
type Bodies struct {
	room int64

	mu       sync.Mutex
	held     int64     // bytes of all that have not left
	leaving  int64     // bytes of those among them that were cut off
	arriving list.List // of *Body, the longest on its way first
}

// NewBodies returns room for so many bytes of bodies, at least EntryCost. Those that were cut off and have not left yet
// may hold as much again, so that in all there is never more than twice the room.
func NewBodies(room int64) *Bodies { return &Bodies{room: room} }

// Body is one body on its way in. Its methods are for the goroutine that reads it.
type Body struct {
	of    *Bodies
	cut   func()
	bytes int64
	place *list.Element // nil once it has come whole or was cut off
	off   bool          // it was cut off
}

// Enter makes room for a body; then Leave must be called once its memory is free. If the body is cut off, cut is called:
// once, and not after Arrived or Leave. It must end a read under way and return at once, without a call to b. Not ok means
// that there is no room although others were cut off; cut was called then, too.
func (b *Bodies) Enter(cut func()) (body *Body, ok bool) {
	body = &Body{of: b, cut: cut}
	b.mu.Lock()
	body.place = b.arriving.PushBack(body)
	b.mu.Unlock()
	if !body.Grow(EntryCost) {
		body.Leave()
		return nil, false
	}
	return body, true
}

// Grow counts n more bytes of a body that has not arrived yet. False means that it was cut off, now or before.
func (o *Body) Grow(n int) bool {
	b := o.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.off {
		return false
	}
	if b.held+int64(n) > 2*b.room {
		b.cutOff(o)
		return false
	}
	b.held += int64(n)
	o.bytes += int64(n)
	for b.held-b.leaving > b.room && b.arriving.Len() > 0 {
		b.cutOff(b.arriving.Front().Value.(*Body)) //nolint:forcetypeassert // the list holds nothing else
	}
	return !o.off
}

// cutOff takes the place of a body that is still arriving.
func (b *Bodies) cutOff(o *Body) {
	b.arriving.Remove(o.place)
	o.place, o.off = nil, true
	b.leaving += o.bytes
	o.cut()
}

// Arrived says that the body has come whole, and reports whether it was not cut off before. From here on it won't be.
func (o *Body) Arrived() bool {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	if o.place != nil {
		o.of.arriving.Remove(o.place)
		o.place = nil
	}
	return !o.off
}

// Leave gives back what the body held.
func (o *Body) Leave() {
	b := o.of
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= o.bytes
	if o.off {
		b.leaving -= o.bytes
	}
	if o.place != nil {
		b.arriving.Remove(o.place)
		o.place = nil
	}
}

// Short reports whether more than half of the room is taken.
func (b *Bodies) Short() bool { return 2*b.Held() > b.room }

// Held is how many bytes are counted now.
func (b *Bodies) Held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}
