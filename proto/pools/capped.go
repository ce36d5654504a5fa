package pools

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Capped says of each label that asks for more cores, memory or time than an untrusted job gets that is sent to this pool, what it gets.
// It says nothing of labels that Fit refuses.
func (f *File) Capped(p Pool, labels []string) (capped []string) {
	sender, sent := f.sender(p, labels)
	if !sent {
		return nil
	}
	own := setOf(slices.Concat(p.Labels, sender.Labels))
	unbound := p
	unbound.Max.CPU, unbound.Max.MemoryMiB, unbound.Max.Timeout = math.MaxFloat64, math.MaxInt, math.MaxInt64
	for _, label := range labels {
		w, ok := f.wishOf(label)
		got, asked := p, p
		if !ok || own[strings.ToLower(label)] || w.apply(&got, p, true) != nil || w.apply(&asked, unbound, false) != nil {
			continue
		}
		var gets string
		switch {
		case got.CPU < asked.CPU && got.CPU == 1:
			gets = "1 core"
		case got.CPU < asked.CPU:
			gets = fmt.Sprintf("%v cores", got.CPU)
		case got.MemoryMiB < asked.MemoryMiB:
			gets = fmt.Sprintf("%dMiB", got.MemoryMiB)
		case got.Timeout < asked.Timeout:
			gets = got.Timeout.String()
		default:
			continue
		}
		capped = append(capped, fmt.Sprintf("%s for %s", gets, shortened(label)))
	}
	return capped
}
