package pools

import (
	"fmt"
	"slices"
	"strings"
)

// DefaultImage is the name of the image that exists without the pools file naming it: Ubuntu with what workflows expect there.
const DefaultImage = "default"

// Image is what sandboxes start from. GitHub's runner is put on all of them, so that none has to have it.
type Image struct {
	Name string `yaml:"-"`
	// Registry is a reference with a tag or a digest, Modal an id or a name; with neither, the base is DefaultImage.
	Registry string `doc:"image in a registry, with a tag or a digest, such as ubuntu:22.04; it is for amd64, and has bash, and curl or a package manager" form:"reference" yaml:"registry"`
	Modal    string `doc:"image at Modal: its id, such as im-..., or the name it was published by, such as tools or staging/tools:v2" form:"modal_image" yaml:"modal"`
	// Steps are instructions of a Dockerfile.
	Steps []string `doc:"what is done on top of that (absent: of the default image), instructions of a Dockerfile: RUN, ENV, ARG, WORKDIR, SHELL, ADD of URLs, COPY --from=; one line each" form:"step" max:"100" min:"1" yaml:"steps"`

	RegistrySecret string `doc:"name of a Modal Secret that logs in to the registry; absent: nobody does" form:"object" yaml:"registry_secret"`
	RegistryLogin  string `doc:"how it logs in: static, with REGISTRY_USERNAME and REGISTRY_PASSWORD, aws or gcp; absent: static" form:"registry_login" yaml:"registry_login"`
}

// The ways to log in to a registry; empty is LoginStatic.
const (
	LoginStatic = "static"
	LoginAWS    = "aws"
	LoginGCP    = "gcp"
)

// Image returns the image of that name; ok is false for DefaultImage, and if there is none.
func (f *File) Image(name string) (i Image, ok bool) {
	n := slices.IndexFunc(f.Images, func(i Image) bool { return i.Name == name })
	if n < 0 {
		return Image{}, false
	}
	return f.Images[n], true
}

// UsesDefaultImage reports whether a pool has the default image, or lets labels ask for it.
func (f *File) UsesDefaultImage() bool {
	return slices.ContainsFunc(f.Pools, func(p Pool) bool {
		return p.Image == DefaultImage || slices.Contains(p.Max.Images, DefaultImage)
	})
}

// imageNames are all that a pool can name, in the file's order.
func (f *File) imageNames() []string {
	names := []string{DefaultImage}
	for _, i := range f.Images {
		if i.Name != DefaultImage { // That is refused, for its name.
			names = append(names, i.Name)
		}
	}
	return names
}

// checkImages applies the rules across the fields of images, and finds names of none.
func (f *File) checkImages(r *reader) {
	for _, i := range f.Images {
		i.check(r, join("images", i.Name))
	}
	names := f.imageNames()
	for _, p := range f.Pools {
		at := p.at()
		if !slices.Contains(names, p.Image) {
			r.across(at+"image", "must be one of "+strings.Join(names, ", "), fmt.Sprintf("%q", p.Image), at+"image", "images")
		}
		for n, name := range p.Max.Images {
			switch path := fmt.Sprintf("%smax.images[%d]", at, n); {
			case !slices.Contains(names, name):
				r.across(path, "must be one of "+strings.Join(names, ", "), fmt.Sprintf("%q", name), path, "images")
			case slices.Contains(p.Max.Images[:n], name):
				r.across(path, "must come once", fmt.Sprintf("%q", name), path)
			}
		}
	}
}

func (i Image) check(r *reader, at string) {
	if i.Name == DefaultImage {
		r.across(at, "its name must not be default, which is the image of pools that name none", "")
	}
	switch {
	case i.Registry != "" && i.Modal != "":
		r.across(at+".modal", "must not be together with registry", fmt.Sprintf("%q", i.Modal))
	case i.Registry == "" && i.Modal == "" && len(i.Steps) == 0:
		r.across(at, "must have registry, modal or steps", "", at+".registry", at+".modal", at+".steps")
	}
	if i.RegistrySecret != "" && i.Registry == "" {
		r.across(at+".registry_secret", "must have a registry to log in to", fmt.Sprintf("%q", i.RegistrySecret), at+".registry")
	}
	if i.RegistryLogin != "" && i.RegistrySecret == "" {
		r.across(at+".registry_login", "must have a registry_secret to log in with", fmt.Sprintf("%q", i.RegistryLogin), at+".registry_secret")
	}
}
