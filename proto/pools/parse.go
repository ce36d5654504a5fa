package pools

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxBytes keeps a wrong path (a log file, a device) from being loaded. A thousand pools need less.
const maxBytes = 1 << 20

// Load reads the file at path. The error is an [Errors] with every mistake, unless the file can't be read.
func Load(path string) (*File, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// read returns the file, or its beginning if it is too large for Parse.
func read(path string) (data []byte, err error) {
	file, err := os.Open(path) //nolint:gosec // the operator says which
	if err != nil {
		return nil, fmt.Errorf("open pools file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if data, err = io.ReadAll(io.LimitReader(file, maxBytes+1)); err != nil {
		return nil, fmt.Errorf("read pools file: %w", err)
	}
	return data, nil
}

// Parse reads a pools file. Its error is an [Errors] with every mistake.
func Parse(data []byte) (*File, error) {
	if len(data) > maxBytes {
		return nil, Errors{{Rule: "must not be larger than 1MiB"}}
	}
	var document yaml.Node
	if err := yaml.Load(data, &document); err != nil {
		return nil, syntaxErrors(data, err)
	}
	r := &reader{lines: map[string]int{}}
	f := &File{Prices: modalPrices()}
	r.read(document.Content[0], "", "", reflect.ValueOf(f).Elem())
	if len(r.errs) == 0 {
		f.complete()
		f.check(r)
	}
	if len(r.errs) > 0 {
		return nil, r.errs.inOrder()
	}
	return f, nil
}

// syntaxErrors says what the library found, in the form of all errors.
func syntaxErrors(data []byte, err error) Errors {
	if len(bytes.TrimSpace(data)) == 0 {
		return Errors{{Rule: "must not be empty"}}
	}
	line, message := 0, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		line, message = e.Mark.Line, e.Message
	}
	return Errors{{Line: line, Rule: "must be one document of YAML: " + strings.TrimPrefix(message, "yaml: ")}}
}

// complete fills in what is absent and depends on something else.
func (f *File) complete() {
	if len(f.Pools) == 0 {
		f.Pools = []Pool{builtIn()}
	}
	for i := range f.Pools {
		p := &f.Pools[i]
		if p.CPULimit == 0 {
			p.CPULimit = limitFactor * p.CPU
		}
		if p.MemoryLimitMiB == 0 {
			p.MemoryLimitMiB = limitFactor * p.MemoryMiB
		}
		if p.CreateRate == 0 && p.GPU != "" {
			p.CreateRate = gpuCreateRate
		}
	}
}

// check applies the rules across fields.
func (f *File) check(r *reader) {
	for _, p := range f.Pools {
		at := "pools." + p.Name + "."
		if p.CPULimit < p.CPU {
			r.fail(at+"cpu_limit", fmt.Sprintf("must be at least cpu, which is %v", p.CPU), fmt.Sprint(p.CPULimit))
		}
		if p.MemoryLimitMiB < p.MemoryMiB {
			r.fail(at+"memory_limit", fmt.Sprintf("must be at least memory, which is %dMiB", p.MemoryMiB), fmt.Sprintf("%dMiB", p.MemoryLimitMiB))
		}
		if p.IdleLimit >= p.Timeout {
			r.fail(at+"idle_limit", fmt.Sprintf("must be below timeout, which is %v", p.Timeout), p.IdleLimit.String())
		}
		p.Max.check(p, f.Prices, func(field, rule, got string) { r.fail(at+"max."+field, rule, got) })
		p.check(func(field, rule, got string) { r.fail(at+field, rule, got) })
		if len(setOf(p.Labels)) < len(p.Labels) {
			r.fail(at+"labels", "must not have a label twice", labels(p))
		}
		if gpu, count := splitGPU(p.GPU); count > 0 && !slices.Contains(f.Prices.types(), gpu) {
			r.fail(at+"gpu", "must be a type that has a price: "+strings.Join(f.Prices.types(), ", ")+", or one more in prices.gpu", fmt.Sprintf("%q", gpu))
		}
	}
	checkRoutes(f.Pools, func(pool int, rule string) {
		r.fail("pools."+f.Pools[pool].Name+".labels", rule, labels(f.Pools[pool]))
	})
	f.checkMatches(r)
}

func labels(p Pool) string { return "[" + strings.Join(p.Labels, ", ") + "]" }

// checkMatches finds entries that never count, since one before them matches all that they match.
func (f *File) checkMatches(r *reader) {
	for i, entry := range f.Repositories {
		account, _, _ := strings.Cut(entry.Match.String(), "/")
		for _, earlier := range f.Repositories[:i] {
			if strings.EqualFold(earlier.Match.String(), entry.Match.String()) || strings.EqualFold(earlier.Match.String(), account+"/*") {
				r.fail(fmt.Sprintf("repositories[%d].match", i), "must come before "+earlier.Match.String()+", which matches all that it matches",
					fmt.Sprintf("%q", entry.Match.String()))
				break
			}
		}
	}
	for i, entry := range f.Owners {
		if slices.ContainsFunc(f.Owners[:i], func(o Owner) bool { return strings.EqualFold(o.Match, entry.Match) }) {
			r.fail(fmt.Sprintf("owners[%d].match", i), "must come once", fmt.Sprintf("%q", entry.Match))
		}
	}
}
