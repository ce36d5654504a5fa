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
	r := &reader{lines: map[string]int{}, unread: map[string]bool{}, holed: map[string]bool{}}
	f := &File{Prices: modalPrices()}
	r.read(document.Content[0], "", "", reflect.ValueOf(f).Elem())
	f.complete()
	f.check(r)
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
			p.CreateRate = GPUCreateRate
		}
		if p.Cache.SizeMiB != 0 {
			p.Cache.Name = DefaultCache
		}
	}
}

// check applies the rules across fields.
func (f *File) check(r *reader) {
	for _, p := range f.Pools {
		at := p.at()
		if p.CPULimit < p.CPU {
			r.across(at+"cpu_limit", fmt.Sprintf("must be at least cpu, which is %v", p.CPU), fmt.Sprint(p.CPULimit), at+"cpu", at+"cpu_limit")
		}
		if p.MemoryLimitMiB < p.MemoryMiB {
			r.across(at+"memory_limit", fmt.Sprintf("must be at least memory, which is %dMiB", p.MemoryMiB), fmt.Sprintf("%dMiB", p.MemoryLimitMiB),
				at+"memory", at+"memory_limit")
		}
		if p.isMachine() && p.MemoryMiB < minMachineMiB {
			r.across(at+"memory", "must be at least 1GiB for a virtual machine, which sandboxes with runtime vm, or with docker and no runtime, are",
				fmt.Sprintf("%dMiB", p.MemoryMiB), at+"memory", at+"runtime", at+"docker")
		}
		if p.IdleLimit >= p.Timeout {
			r.across(at+"idle_limit", fmt.Sprintf("must be below timeout, which is %v", p.Timeout), p.IdleLimit.String(), at+"idle_limit", at+"timeout")
		}
		p.Max.check(r, at, p, f.Prices)
		p.Cache.check(r, at, p)
		f.checkWarm(r, at, p)
		p.check(r, at)
		f.checkUntrusted(r, at, p)
		if len(repeated(lowered(p.Labels))) > 0 {
			r.across(at+"labels", "must not have a label twice", shownLabels(p))
		}
		if gpu, count := splitGPU(p.GPU); count > 0 && !slices.Contains(f.Prices.types(), gpu) {
			r.across(at+"gpu", "must be a type that has a price: "+strings.Join(f.Prices.types(), ", ")+", or one more in prices.gpu", fmt.Sprintf("%q", gpu),
				at+"gpu", "prices.gpu")
		}
	}
	checkRoutes(r, f.Pools)
	f.checkImages(r)
	f.checkMatches(r)
}

// at is the path of a pool.
func (p Pool) at() string { return join("pools", p.Name) + "." }

func shownLabels(p Pool) string { return "[" + strings.Join(p.Labels, ", ") + "]" }

func lowered(texts []string) []string {
	small := make([]string, 0, len(texts))
	for _, t := range texts {
		small = append(small, strings.ToLower(t))
	}
	return small
}

// checkMatches finds entries that never count, since one before them matches all that they match.
func (f *File) checkMatches(r *reader) {
	for i, entry := range f.Repositories {
		account, _, _ := strings.Cut(entry.Match.String(), "/")
		for _, earlier := range f.Repositories[:i] {
			if strings.EqualFold(earlier.Match.String(), entry.Match.String()) || strings.EqualFold(earlier.Match.String(), account+"/*") {
				at := fmt.Sprintf("repositories[%d].match", i)
				r.across(at, "must come before "+earlier.Match.String()+", which matches all that it matches", fmt.Sprintf("%q", entry.Match.String()), at)
				break
			}
		}
	}
	for i, entry := range f.Owners {
		if slices.ContainsFunc(f.Owners[:i], func(o Owner) bool { return strings.EqualFold(o.Match, entry.Match) }) {
			at := fmt.Sprintf("owners[%d].match", i)
			r.across(at, "must come once", fmt.Sprintf("%q", entry.Match), at)
		}
	}
}
