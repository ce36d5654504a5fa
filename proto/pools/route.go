package pools

import (
	"fmt"
	"slices"
	"strings"
)

// AmbiguousError says that a job asks for what two pools have and no single one has.
type AmbiguousError struct {
	// Pools are the names of the two, in the file's order.
	Pools [2]string
}

// Error speaks to the author of the job.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("runs-on: must ask for the labels of one pool (got those of %s and of %s)", e.Pools[0], e.Pools[1])
}

// Route returns the pool for a job with those labels, or "" if none matches. A pool matches if all its labels are among the job's,
// without regard to case; the job may have others, too. Of the pools that match, the one with the most labels counts. If that leaves
// out a label of another one that matches, the error is an [*AmbiguousError], and the pool is the first of the two. A job that asks for
// another machine, as arm64 does, is meant for a pool only if that has a label of its own: what any self-hosted runner has is somebody
// else's as well.
func (f *File) Route(labels []string) (string, error) {
	asked, elsewhere := setOf(labels), slices.ContainsFunc(labels, anotherMachine.MatchString)
	var matching []int
	best, most := 0, set{}
	for i, p := range f.Pools {
		own := setOf(p.Labels)
		if !own.within(asked) || elsewhere && own.within(ofAnyRunner()) {
			continue
		}
		matching = append(matching, i)
		if len(own) > len(most) {
			best, most = i, own
		}
	}
	if len(matching) == 0 {
		return "", nil
	}
	for _, i := range matching {
		if !setOf(f.Pools[i].Labels).within(most) {
			two := [2]string{f.Pools[min(best, i)].Name, f.Pools[max(best, i)].Name}
			return two[0], &AmbiguousError{Pools: two}
		}
	}
	return f.Pools[best].Name, nil
}

// ofAnyRunner are the labels that GitHub gives a self-hosted runner of Modal's kind by itself (docs.github.com, "Using self-hosted runners in
// a workflow").
func ofAnyRunner() set { return setOf([]string{"self-hosted", "linux", "x64"}) }

// set is a set of labels in small letters.
type set map[string]bool

func setOf(labels []string) set {
	s := make(set, len(labels))
	for _, l := range labels {
		s[strings.ToLower(l)] = true
	}
	return s
}

func (s set) within(other set) bool {
	for l := range s {
		if !other[l] {
			return false
		}
	}
	return true
}

func (s set) equal(other set) bool { return len(s) == len(other) && s.within(other) }

// overlap reports whether some labels are in both sets and each set has labels of its own.
func (s set) overlap(other set) bool {
	shared := 0
	for l := range s {
		if other[l] {
			shared++
		}
	}
	return shared > 0 && shared < len(s) && shared < len(other)
}

// union has the labels of both, in order.
func (s set) union(other set) []string {
	var all []string
	for l := range s {
		all = append(all, l)
	}
	for l := range other {
		if !s[l] {
			all = append(all, l)
		}
	}
	slices.Sort(all)
	return all
}

// checkRoutes finds pools between which labels could not decide: those of one set of labels, and those whose sets overlap without
// a pool for what has all labels of both. Pools whose sets have nothing in common are not at fault: only a job that asks for both is.
func checkRoutes(r *reader, pools []Pool) {
	sets := make([]set, 0, len(pools))
	for _, p := range pools {
		sets = append(sets, setOf(p.Labels))
	}
	for b, p := range pools {
		for a, other := range pools[:b] {
			broken := func(rule string) {
				r.across(p.at()+"labels", rule, shownLabels(p), p.at()+"labels", other.at()+"labels")
			}
			switch {
			case sets[a].equal(sets[b]):
				broken("must not be the same as those of pool " + other.Name)
			case sets[a].overlap(sets[b]):
				all := sets[a].union(sets[b])
				if !anyFor(r, pools, setOf(all)) {
					broken(fmt.Sprintf("must not overlap with those of pool %s, unless there is a pool for [%s], too", other.Name, strings.Join(all, ", ")))
				}
			}
		}
	}
}

// anyFor reports whether there is a pool for exactly these labels, or one that may be, since not all of its own can be read.
func anyFor(r *reader, pools []Pool, labels set) bool {
	return slices.ContainsFunc(pools, func(p Pool) bool {
		own := setOf(p.Labels)
		if r.sound(p.at() + "labels") {
			return labels.equal(own)
		}
		delete(own, "") // A label that can't be read.
		return own.within(labels)
	})
}
