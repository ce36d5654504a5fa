package sandbox

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// enough is a limit that 30 writes of 40 lines do not reach.
const enough = 30 * 40 * (1 + entryCost)

func TestLogKeepsTheEndOfEachStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 200, 1000, enough}).Draw(t, "limit")
		log := newLog(limit)
		var written [2]bytes.Buffer
		cursor, followed := 0, [2]bytes.Buffer{}
		for range rapid.IntRange(0, 30).Draw(t, "writes") {
			from := rapid.SampledFrom([]Stream{Stdout, Stderr}).Draw(t, "stream")
			data := rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n")), 0, 40).Draw(t, "data")
			_, changed := log.After(cursor)
			if n, err := log.Writer(from).Write(data); n != len(data) || err != nil {
				t.Fatalf("write: %d, %v", n, err)
			}
			written[from].Write(data)
			if isClosed(changed) != (len(data) > 0) {
				t.Errorf("a write of %d bytes was announced: %v", len(data), isClosed(changed))
			}
			for _, e := range entriesAfter(log, cursor) {
				followed[e.Stream].Write(e.Data)
				if e.Seq <= cursor {
					t.Errorf("entry %d after %d", e.Seq, cursor)
				}
				cursor = e.Seq
			}
		}
		cost, kept := 0, entriesAfter(log, 0)
		for i, e := range kept {
			cost += len(e.Data) + entryCost
			if all := written[e.Stream].Bytes(); !bytes.Equal(all[e.Offset:int(e.Offset)+len(e.Data)], e.Data) {
				t.Errorf("entry %d is not what was written at its offset", e.Seq)
			}
			if e.Seq != kept[0].Seq+i {
				t.Errorf("entry %d is at place %d after %d", e.Seq, i, kept[0].Seq)
			}
		}
		if cost > limit && len(kept) > 1 {
			t.Errorf("%d bytes are kept, limit %d", cost, limit)
		}
		log.close()
		if _, changed := log.After(0); changed != nil {
			t.Error("more is announced after the end")
		}
		if limit == enough && (followed[Stdout].String() != written[Stdout].String() || followed[Stderr].String() != written[Stderr].String()) {
			t.Error("a reader that follows missed something")
		}
	})
}

func entriesAfter(l *Log, seq int) []Entry {
	entries, _ := l.After(seq)
	return entries
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
