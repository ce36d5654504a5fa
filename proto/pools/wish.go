package pools

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// minCPU and minMemoryMiB are the least that a pool may have, too.
	minCPU       = 0.125
	minMemoryMiB = 128
	mibPerGiB    = 1024
)

// wish is a label with a value: what it is about, and the value in small letters.
type wish struct{ key, value string }

var (
	cpuValue    = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3})?$`)
	memoryValue = regexp.MustCompile(`^([1-9][0-9]{0,6})(m|mb|mib|g|gb|gib)?$`)
	// timeoutValue is what begins as a time does, right or not: who writes timeout-30 means no name.
	timeoutValue = regexp.MustCompile(`^[0-9][0-9a-z.]*$`)
	// regionValue is what begins with an area of Modal's (modal.com/docs/guide/region-selection), whether there is that part of it or not.
	regionValue = regexp.MustCompile(`^(us|eu|uk|ap|ca|sa|me|mx|af)(-[a-z0-9-]+)?$`)
	countedGPU  = regexp.MustCompile(`^(.+)[:=-]([0-9]+)$`)
)

// ofGPU has the value of a wish for GPUs in the form of the file, such as t4:2, however it is spelled; ok is false for a type of no price.
func (f *File) ofGPU(value string) (text string, ok bool) {
	types := f.Prices.types()
	if slices.Contains(types, strings.ToUpper(value)) {
		return value, true
	}
	if parts := countedGPU.FindStringSubmatch(value); parts != nil && slices.Contains(types, strings.ToUpper(parts[1])) {
		return parts[1] + ":" + parts[2], true
	}
	return value, false
}

// namesRegion reports whether a pool is in that region, or labels may ask for it.
func (f *File) namesRegion(name string) bool {
	return slices.ContainsFunc(f.Pools, func(p Pool) bool { return slices.Contains(p.Regions, name) || slices.Contains(p.Max.Regions, name) })
}

// wishOf takes a label apart; ok is false if it has no value for us.
func (f *File) wishOf(label string) (w wish, ok bool) {
	label = strings.ToLower(label)
	if label == "docker" {
		return wish{key: label}, true
	}
	end := strings.IndexAny(label, ":=-")
	if end < 0 {
		return wish{}, false
	}
	w = wish{label[:end], label[end+1:]}
	switch w.key { // The words of the pools file count, too: who asks for no network must not get one for a spelling.
	case "memory":
		w.key = "mem"
	case "network":
		w.key = "net"
	}
	sure := label[end] != '-'
	switch w.key {
	case "cpu":
		return w, sure || cpuValue.MatchString(w.value)
	case "mem":
		return w, sure || memoryValue.MatchString(w.value)
	case "gpu":
		w.value, ok = f.ofGPU(w.value)
		return w, sure || ok
	case "timeout":
		return w, sure || timeoutValue.MatchString(w.value)
	case "net":
		return w, sure || w.value == "none"
	case "region":
		return w, sure || regionValue.MatchString(w.value) || f.namesRegion(w.value)
	case "cache":
		return w, sure || f.namesCache(w.value)
	case "image":
		return w, sure || slices.Contains(f.imageNames(), w.value)
	case "disk", "volume":
		return w, sure
	}
	m, ok := mistaken(w.key)
	if ok {
		_, ok = f.wishOf(m.meant + label[end:])
	}
	return w, ok
}

// mistake is what a label means, and an example of how that is said.
type mistake struct{ meant, example string }

// mistaken are the words of other systems for what labels with values ask for here, such as ram (runs-on.com), and the plurals of the
// pools file. A job that says them must not get less in silence. There is nothing that disk and volume could mean.
func mistaken(key string) (m mistake, ok bool) {
	switch key {
	case "vcpu", "vcpus", "cpus", "cores":
		m = mistake{"cpu", "cpu:4: physical cores, each of which is two virtual ones"}
	case "ram":
		m = mistake{"mem", "mem:16"}
	case "gpus":
		m = mistake{"gpu", "gpu:t4"}
	case "images":
		m = mistake{"image", "image:ml"}
	case "regions":
		m = mistake{"region", "region:us-east"}
	case "caches":
		m = mistake{"cache", "cache:deps"}
	}
	return m, m.meant != ""
}

// apply has the pool fulfil the wish, within the bounds of what it was, or if it is capped, with as much of cores, memory or time as
// these allow.
func (w wish) apply(to *Pool, from Pool, capped bool) error {
	if m, ok := mistaken(w.key); ok {
		return fmt.Errorf("must say %s for %s, such as %s", m.meant, w.key, m.example)
	}
	switch w.key {
	case "cpu":
		return w.cpu(to, from, capped)
	case "mem":
		return w.memory(to, from, capped)
	case "gpu":
		return w.gpu(to, from)
	case "timeout":
		return w.timeout(to, from, capped)
	case "region":
		if !slices.Contains(from.Max.Regions, w.value) {
			return outside("region", from, strings.Join(from.Max.Regions, ", "))
		}
		to.Regions = []string{w.value}
	case "cache":
		if !slices.Contains(from.Max.Caches, w.value) {
			return outside("cache", from, strings.Join(from.Max.Caches, ", "))
		}
		to.Cache.Name = w.value
	case "docker":
		if !from.Docker && !from.Max.Docker {
			return outside("docker", from, "")
		}
		to.Docker = true
	case "image":
		if !slices.Contains(from.Max.Images, w.value) {
			return outside("image", from, strings.Join(from.Max.Images, ", "))
		}
		to.Image = w.value
	case "disk", "volume":
		return errors.New("must not ask for space on a disk, which Modal lets nobody choose")
	default: // net
		if w.value != "none" {
			return errors.New("net must be none")
		}
		to.Network = Network{Mode: NetworkBlock}
	}
	return nil
}

// boundError is a wish for what the pool does not have.
type boundError string

func (e boundError) Error() string { return string(e) }

// outside says what bounds a wish breaks; none if there are none.
func outside(what string, p Pool, bounds string) error {
	if bounds == "" {
		return boundError(fmt.Sprintf("%s must not be asked for in pool %s", what, p.Name))
	}
	return boundError(fmt.Sprintf("%s must be within what pool %s has, %s", what, p.Name, bounds))
}

func (w wish) cpu(to *Pool, from Pool, capped bool) error {
	cores, err := strconv.ParseFloat(w.value, 64)
	if capped {
		from.Max.CPU = max(from.Max.CPU, from.CPU)
		cores = min(cores, from.Max.CPU)
	}
	switch {
	case from.Max.CPU == 0:
		return outside("cpu", from, "")
	case err != nil || !cpuValue.MatchString(w.value):
		return errors.New("cpu must be a number of cores, such as 4 or 0.5")
	case cores < minCPU || cores > from.Max.CPU:
		return outside("cpu", from, fmt.Sprintf("%v to %v cores", minCPU, from.Max.CPU))
	}
	to.CPU, to.CPULimit = cores, from.CPULimit*cores/from.CPU
	return nil
}

func (w wish) memory(to *Pool, from Pool, capped bool) error {
	if capped {
		from.Max.MemoryMiB = max(from.Max.MemoryMiB, from.MemoryMiB)
	}
	if from.Max.MemoryMiB == 0 {
		return outside("mem", from, "")
	}
	parts := memoryValue.FindStringSubmatch(w.value)
	if parts == nil {
		return errors.New("mem must be a whole number of GiB, or have a unit, such as 16 or 512MiB")
	}
	mib, err := strconv.Atoi(parts[1])
	if err != nil {
		return errors.New("mem must be a whole number")
	}
	if !strings.HasPrefix(parts[2], "m") {
		mib *= mibPerGiB
	}
	if capped {
		mib = min(mib, from.Max.MemoryMiB)
	}
	if mib < minMemoryMiB || mib > from.Max.MemoryMiB {
		return outside("mem", from, fmt.Sprintf("%dMiB to %dMiB", minMemoryMiB, from.Max.MemoryMiB))
	}
	to.MemoryMiB, to.MemoryLimitMiB = mib, int(int64(from.MemoryLimitMiB)*int64(mib)/int64(from.MemoryMiB))
	return nil
}

func (w wish) gpu(to *Pool, from Pool) error {
	form, asked := formOf("gpu"), ""
	if len(from.Max.GPUs) == 0 {
		return outside("gpu", from, "")
	}
	if !form.pattern.MatchString(w.value) {
		return fmt.Errorf("gpu %s", form.rule)
	}
	if err := form.set(reflect.ValueOf(&asked).Elem(), w.value); err != nil {
		return fmt.Errorf("gpu %w", err)
	}
	kind, count := splitGPU(asked)
	if !slices.ContainsFunc(from.Max.GPUs, func(most string) bool {
		allowed, n := splitGPU(most)
		return allowed == kind && count <= n
	}) {
		return outside("gpu", from, strings.Join(from.Max.GPUs, ", "))
	}
	to.GPU = asked
	return nil
}

func (w wish) timeout(to *Pool, from Pool, capped bool) error {
	form := formOf("duration")
	if capped {
		from.Max.Timeout = max(from.Max.Timeout, from.Timeout)
	}
	if from.Max.Timeout == 0 {
		return outside("timeout", from, "")
	}
	d, err := time.ParseDuration(w.value)
	if capped {
		d = min(d, from.Max.Timeout)
	}
	switch {
	case err != nil || !form.pattern.MatchString(w.value):
		return fmt.Errorf("timeout %s", form.rule)
	case d > from.Max.Timeout:
		return outside("timeout", from, fmt.Sprintf("up to %v", from.Max.Timeout))
	}
	to.Timeout = d
	return nil
}
