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

// Max is how far labels with values may go in a pool. What it does not have, labels may not ask for at all.
type Max struct {
	CPU       float64       `doc:"the most physical cores of a label such as cpu:4; absent: no such label" max:"128" min:"0.125" yaml:"cpu"`
	MemoryMiB int           `doc:"the most memory of a label such as mem:16, in GiB; absent: no such label" form:"memory" max:"1024GiB" min:"128MiB" yaml:"memory"`
	GPUs      []string      `doc:"what labels such as gpu:a100 or gpu:t4:2 may ask for: types, with the most that there may be of each" form:"gpu" max:"20" min:"1" yaml:"gpu"`
	Timeout   time.Duration `doc:"the longest timeout of a label such as timeout:2h; absent: no such label" form:"duration" max:"24h" min:"1m" yaml:"timeout"`
	Regions   []string      `doc:"what labels such as region:us-east may ask for" form:"region" max:"20" min:"1" yaml:"regions"`
}

// check applies the rules across fields.
func (m Max) check(p Pool, prices Prices, broken func(field, rule, got string)) {
	if m.CPU != 0 && m.CPU < p.CPU {
		broken("cpu", fmt.Sprintf("must be at least cpu, which is %v", p.CPU), fmt.Sprint(m.CPU))
	}
	if m.MemoryMiB != 0 && m.MemoryMiB < p.MemoryMiB {
		broken("memory", fmt.Sprintf("must be at least memory, which is %dMiB", p.MemoryMiB), fmt.Sprintf("%dMiB", m.MemoryMiB))
	}
	if m.Timeout != 0 && m.Timeout < p.Timeout {
		broken("timeout", fmt.Sprintf("must be at least timeout, which is %v", p.Timeout), m.Timeout.String())
	}
	for _, gpu := range m.GPUs {
		if kind, _ := splitGPU(gpu); !slices.Contains(prices.types(), kind) {
			broken("gpu", "must be types that have a price: "+strings.Join(prices.types(), ", ")+", or more in prices.gpu", fmt.Sprintf("%q", kind))
		}
	}
}

// LabelError says that a label with a value asks for what it can't have. Its text speaks to the author of the job.
type LabelError struct{ Label, Rule string }

func (e *LabelError) Error() string {
	return fmt.Sprintf("runs-on: %s (got %q)", e.Rule, shortened(e.Label))
}

// Fit returns what the sandbox of a job with those labels gets: what the pool has, but for what labels with values ask for.
// Those are cpu:4 (cores), mem:16 (GiB, or with a unit), gpu:a100 or gpu:t4:2, timeout:2h, region:us-east and net:none, with ":", "="
// or "-" after the first word, in any case. With "-" only what can be nothing else is meant: gpu-runner is a label as any other,
// and so are the pool's own labels. Limits of cores and memory keep their proportion to what is reserved. The error is a
// [*LabelError].
func (f *File) Fit(p Pool, labels []string) (Pool, error) {
	own, first := setOf(p.Labels), map[string]string{}
	fitted := p
	for _, label := range labels {
		w, ok := f.wishOf(label)
		if !ok || own[strings.ToLower(label)] {
			continue
		}
		before, again := first[w.key]
		first[w.key] = label
		switch {
		case again && strings.EqualFold(before, label):
			continue
		case again:
			return Pool{}, &LabelError{label, fmt.Sprintf("must ask for %s once, and does with %q, too", w.key, shortened(before))}
		}
		if err := w.apply(&fitted, p); err != nil {
			return Pool{}, &LabelError{label, err.Error()}
		}
	}
	if fitted.Timeout <= fitted.IdleLimit {
		return Pool{}, &LabelError{first["timeout"], fmt.Sprintf("timeout must be above %v, which a runner may wait for its job", p.IdleLimit)}
	}
	return fitted, nil
}

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
)

// wishOf takes a label apart; ok is false if it has no value for us.
func (f *File) wishOf(label string) (w wish, ok bool) {
	label = strings.ToLower(label)
	end := strings.IndexAny(label, ":=-")
	if end < 0 {
		return wish{}, false
	}
	w = wish{label[:end], label[end+1:]}
	if w.key == "memory" {
		w.key = "mem"
	}
	sure := label[end] != '-'
	switch w.key {
	case "cpu":
		return w, sure || cpuValue.MatchString(w.value)
	case "mem":
		return w, sure || memoryValue.MatchString(w.value)
	case "gpu":
		kind, _ := splitGPU(strings.ToUpper(w.value))
		return w, sure || slices.Contains(f.Prices.types(), kind)
	case "timeout":
		return w, sure || formOf("duration").pattern.MatchString(w.value)
	case "net":
		return w, sure || w.value == "none"
	case "region":
		return w, sure
	default:
		return wish{}, false
	}
}

// apply has the pool fulfil the wish, within the bounds of what it was.
func (w wish) apply(to *Pool, from Pool) error {
	switch w.key {
	case "cpu":
		return w.cpu(to, from)
	case "mem":
		return w.memory(to, from)
	case "gpu":
		return w.gpu(to, from)
	case "timeout":
		return w.timeout(to, from)
	case "region":
		if !slices.Contains(from.Max.Regions, w.value) {
			return outside("region", from, strings.Join(from.Max.Regions, ", "))
		}
		to.Regions = []string{w.value}
	default: // net
		if w.value != "none" {
			return errors.New("net must be none")
		}
		to.Network = Network{Mode: NetworkBlock}
	}
	return nil
}

// outside says what bounds a wish breaks; none if there are none.
func outside(what string, p Pool, bounds string) error {
	if bounds == "" {
		return fmt.Errorf("%s must not be asked for in pool %s", what, p.Name)
	}
	return fmt.Errorf("%s must be within what pool %s has, %s", what, p.Name, bounds)
}

func (w wish) cpu(to *Pool, from Pool) error {
	cores, err := strconv.ParseFloat(w.value, 64)
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

func (w wish) memory(to *Pool, from Pool) error {
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

func (w wish) timeout(to *Pool, from Pool) error {
	form := formOf("duration")
	if from.Max.Timeout == 0 {
		return outside("timeout", from, "")
	}
	d, err := time.ParseDuration(w.value)
	switch {
	case err != nil || !form.pattern.MatchString(w.value):
		return fmt.Errorf("timeout %s", form.rule)
	case d > from.Max.Timeout:
		return outside("timeout", from, fmt.Sprintf("up to %v", from.Max.Timeout))
	}
	to.Timeout = d
	return nil
}
