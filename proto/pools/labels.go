package pools

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	Caches    []string      `doc:"names that labels such as cache:deps may ask for; absent: no such label" form:"cache" max:"100" min:"1" yaml:"caches"`
	Docker    bool          `doc:"whether the label docker may ask for Docker where the pool does not have it anyway; absent: false" yaml:"docker"`
	Images    []string      `doc:"names of the images that labels such as image:cuda may ask for" form:"image" max:"100" min:"1" yaml:"images"`
}

// check applies the rules across fields.
func (m Max) check(r *reader, at string, p Pool, prices Prices) {
	broken := func(field, rule, got string) { r.across(at+"max."+field, rule, got, at+field, at+"max."+field) }
	if m.CPU != 0 && m.CPU < p.CPU {
		broken("cpu", fmt.Sprintf("must be at least cpu, which is %v", p.CPU), fmt.Sprint(m.CPU))
	}
	if m.MemoryMiB != 0 && m.MemoryMiB < p.MemoryMiB {
		broken("memory", fmt.Sprintf("must be at least memory, which is %dMiB", p.MemoryMiB), fmt.Sprintf("%dMiB", m.MemoryMiB))
	}
	if m.Timeout != 0 && m.Timeout < p.Timeout {
		broken("timeout", fmt.Sprintf("must be at least timeout, which is %v", p.Timeout), m.Timeout.String())
	}
	for n, gpu := range m.GPUs {
		if kind, _ := splitGPU(gpu); !slices.Contains(prices.types(), kind) {
			r.across(at+"max.gpu", "must be types that have a price: "+strings.Join(prices.types(), ", ")+", or more in prices.gpu", fmt.Sprintf("%q", kind),
				fmt.Sprintf("%smax.gpu[%d]", at, n), "prices.gpu")
		}
	}
}

// LabelError says that a label with a value asks for what it can't have. Its text speaks to the author of the job.
type LabelError struct{ Label, Rule string }

func (e *LabelError) Error() string {
	return fmt.Sprintf("runs-on: %s (got %q)", e.Rule, shortened(e.Label))
}

// Fit returns what the sandbox of a job with those labels gets: what the pool has, but for what labels with values ask for.
// Those are cpu:4 (cores), mem:16 (GiB, or with a unit), gpu:a100 or gpu:t4:2, timeout:2h, region:us-east, cache:deps, image:NAME and
// net:none, with ":", "=" or "-" after the first word and before a count, in any case, and docker, which needs no value. With "-" only
// what can be a value is meant: gpu-runner is a label as any other, and so are the pool's own labels. Limits of cores and memory keep
// their proportion to what is reserved. If the labels are those of a pool that sends its untrusted jobs to this one, that one's own
// labels are none with values either, and of cores, memory and time there is as much as this pool lets anybody have, if they ask for
// more. What only looks like a label that means something is refused. The error is a [*LabelError].
func (f *File) Fit(p Pool, labels []string) (Pool, error) {
	own, first := setOf(p.Labels), map[string]string{}
	sender, sent := f.sender(p, labels)
	for _, label := range sender.Labels {
		own[strings.ToLower(label)] = true
	}
	fitted, asked := p, map[string]wish{}
	for _, label := range labels {
		if err := f.checkPlain(label); err != nil {
			return Pool{}, err
		}
		w, ok := f.wishOf(label)
		switch {
		case own[strings.ToLower(label)]:
			continue
		case anotherMachine.MatchString(label):
			return Pool{}, &LabelError{label, "must not ask for a machine that Modal does not have: its sandboxes are Linux on x64"}
		case !ok:
			continue
		}
		before, again := asked[w.key]
		switch {
		case again && before == w:
			continue
		case again:
			return Pool{}, &LabelError{label, fmt.Sprintf("must ask for %s once, and does with %q, too", w.key, shortened(first[w.key]))}
		}
		asked[w.key], first[w.key] = w, label
		if err := w.apply(&fitted, p, sent); err != nil {
			rule := err.Error()
			if _, ok := errors.AsType[boundError](err); ok && sent {
				rule += ", where pool " + sender.Name + " sends untrusted jobs"
			}
			return Pool{}, &LabelError{label, rule}
		}
	}
	if err := fitted.asAsked(first); err != nil {
		return Pool{}, err
	}
	return fitted, nil
}

// asAsked returns an error if what labels have made of a pool is at odds with itself. They are by what they ask for.
func (p Pool) asAsked(labels map[string]string) error {
	switch {
	case p.Timeout <= p.IdleLimit:
		return &LabelError{labels["timeout"], fmt.Sprintf("timeout must be above %v, which a runner may wait for its job", p.IdleLimit)}
	case p.isMachine() && p.MemoryMiB < minMachineMiB:
		return &LabelError{
			cmp.Or(labels["mem"], labels["docker"]),
			"mem must be at least 1GiB for the virtual machine that it is, for Docker or all jobs of pool " + p.Name,
		}
	}
	return nil
}

// sender is the pool whose labels a job has that is an untrusted one of this pool; ok is false if it asks for this pool, or is none.
func (f *File) sender(p Pool, labels []string) (sender Pool, ok bool) {
	name, err := f.Route(labels)
	if sender, ok = f.Pool(name); err != nil || !ok || name == p.Name || sender.Untrusted != p.Name {
		return Pool{}, false
	}
	return sender, true
}

// anotherMachine is what no sandbox is, in the words that GitHub gives its own names of systems and architectures as labels of
// self-hosted runners (docs.github.com, "Using self-hosted runners in a workflow"), maybe after the word for what it is, and in those
// for the runners that GitHub hosts (the same, "GitHub-hosted runners reference").
var anotherMachine = regexp.MustCompile(`^(?i:((arch|os|platform)[:=-])?(linux[/-])?(arm|arm64|aarch64|windows|macos)|` +
	`ubuntu-[0-9.]+-arm|(windows|macos)-(latest|[0-9]+)(-(arm|intel|large|xlarge))*)$`)
