package pools

import (
	"fmt"
	"slices"
)

const (
	// CachePath is where a sandbox of a pool with a Cache has it.
	CachePath = "/cache"
	// DefaultCache is the name of the cache of a job that asks for none by a label.
	DefaultCache = "default"
)

// Cache is a directory that each repository keeps between its jobs. Several names are as many caches of one repository; none is ever
// shared by two.
type Cache struct {
	// Name is DefaultCache, or what a label of the job asks for.
	Name string `yaml:"-"`
	// SizeMiB bounds each cache of each repository; zero is no cache at all.
	SizeMiB int `doc:"the most that each cache of a repository keeps, such as 10GiB; what was not used for longest goes first" form:"memory" max:"10240GiB" min:"1GiB" required:"true" yaml:"size"`
	// Volume is empty for one that is named after the Modal App.
	Volume   string `doc:"name of the Modal Volume for the caches of all repositories, of version 2, which is made if it is missing; absent: MODAL_APP and -cache" form:"object" yaml:"volume"`
	ReadOnly bool   `doc:"whether jobs can't change it; absent: false" yaml:"read_only"`
}

// check applies the rules across fields.
func (c Cache) check(r *reader, at string, p Pool) {
	if !r.given(at + "cache") {
		if len(p.Max.Caches) > 0 {
			r.across(at+"max.caches", "must not be without cache", "")
		}
		return
	}
	for _, v := range p.Volumes {
		if path := join(at+"volumes", v.Name) + ".path"; within(v.Path, CachePath) || within(CachePath, v.Path) {
			r.across(path, "must be apart from that of cache, which is "+CachePath, fmt.Sprintf("%q", v.Path), path)
		}
	}
}

// namesCache reports whether labels of some pool may ask for a cache of that name.
func (f *File) namesCache(name string) bool {
	return slices.ContainsFunc(f.Pools, func(p Pool) bool { return slices.Contains(p.Max.Caches, name) })
}
