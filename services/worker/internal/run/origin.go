package run

import (
	"cmp"
	"fmt"
)

// Origin is what GitHub says, when it is asked, of where the code of a job comes from.
type Origin struct {
	// Private says that the job's repository is private or internal.
	Private bool
	// Foreign says that the commit is not the repository's own: it is a fork's. Head is the "owner/repo" that it is of; empty if that
	// is gone.
	Foreign bool
	Head    string
	// Event is what started the workflow run, in GitHub's word.
	Event string
}

// Untrusted says why strangers may have written what the job runs; it is empty if only those may who can write to the repository.
func (o Origin) Untrusted() string {
	if !o.Foreign {
		return ""
	}
	return fmt.Sprintf("its code is that of %s (%s)", cmp.Or(o.Head, "a fork that is gone"), cmp.Or(o.Event, "event not known"))
}

// vetted is the record of a job whose origin is known: whether it is trusted, and by that its pool.
func vetted(r Run, ev Vetted) Run {
	if r.State == Waiting {
		r.Job.Private, r.Job.Untrusted, r.Job.Pool = ev.Job.Private, ev.Job.Untrusted, ev.Job.Pool
	}
	return r
}
