package run

// Image is what sandboxes start from, before the runner is put on it. Two that differ in Name only are the same.
type Image struct {
	// Name is for people; that of the default image is empty.
	Name string `json:"-"`
	// Registry is a reference such as "ubuntu:22.04", Modal the id or the name of an image there. With neither it is based on the
	// default image.
	Registry, Modal string
	// Steps are instructions of a Dockerfile, on top of that.
	Steps []string
	// RegistrySecret is the name of the Modal Secret that logs in to the registry, if it is not empty, in the way of Login: "aws",
	// "gcp", or anything else for a name and a password.
	RegistrySecret, Login string
}

// IsDefault reports whether it is the image that needs no definition.
func (i Image) IsDefault() bool { return i.Registry == "" && i.Modal == "" && len(i.Steps) == 0 }

// Build is an image to be built: the same for all workers that have the same pools file and runner.
type Build struct {
	// Key tells the image from others, in letters and digits.
	Key string
	// Recipe changes with everything that the image is made of.
	Recipe string
	// Name is the image's, Runner the version of the runner on it, both for people.
	Name, Runner string
}

// BuildError is why an image was not built.
type BuildError struct {
	// Text is for people.
	Text string
	// Bad says that the definition is at fault: the next build of it fails, too.
	Bad bool
	// Log is what the build said last, at most 8 KiB, and Tail the end of that, at most 1,000 bytes, both without what looks like a
	// secret. They are empty if it said nothing, or another worker built it: then Text has that one's Tail.
	Log, Tail string
}

// Error implements error. It is as long as a record may keep.
func (e *BuildError) Error() string {
	if e.Tail == "" {
		return e.Text
	}
	return e.Text + "; its log ends: " + e.Tail
}
