package wire

import (
	"errors"
	"regexp"
	"strings"
)

var repoPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/([A-Za-z0-9_.-]{1,100}|\*)$`)

var (
	// ErrRepoPattern says that a text is no RepoPattern.
	ErrRepoPattern = errors.New("must be owner/repo or owner/*")
	// ErrRepoNotAllowed says that the list of repositories names neither this one nor its account.
	ErrRepoNotAllowed = errors.New("repository not allowed")
	// ErrPublicNotNamed says that a public repository is not on the list by its own name.
	ErrPublicNotNamed = errors.New("public repository not named")
)

// RepoPattern names one repository ("owner/repo"), or all of an account that are not public ("owner/*"). Like GitHub's
// names it is compared without case.
type RepoPattern string

// UnmarshalText accepts the patterns.
func (p *RepoPattern) UnmarshalText(text []byte) error {
	if !repoPattern.Match(text) {
		return ErrRepoPattern
	}
	*p = RepoPattern(text)
	return nil
}

// String implements fmt.Stringer.
func (p RepoPattern) String() string { return string(p) }

// AdmitRepo returns nil if jobs of a repository may run, else ErrRepoNotAllowed or ErrPublicNotNamed. Without patterns,
// those of private and internal repositories may. A public one must be named by itself, since anybody can open pull
// requests there.
func AdmitRepo(patterns []RepoPattern, owner, name string, private bool) error {
	byAccount := len(patterns) == 0
	for _, p := range patterns {
		account, repo, _ := strings.Cut(string(p), "/")
		if !strings.EqualFold(account, owner) {
			continue
		}
		if strings.EqualFold(repo, name) {
			return nil
		}
		byAccount = byAccount || repo == "*"
	}
	switch {
	case byAccount && private:
		return nil
	case byAccount:
		return ErrPublicNotNamed
	default:
		return ErrRepoNotAllowed
	}
}
