package pools

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// alike are characters of other alphabets, and dashes and colons that word processors put into texts, that look like the one of ASCII
// (unicode.org/Public/security, confusables.txt). Of letters that look like one in both cases the small one is enough.
var alike = map[rune]rune{ //nolint:gochecknoglobals // a constant
	// Cyrillic
	'\u0430': 'a', '\u0432': 'b', '\u0435': 'e', '\u043a': 'k', '\u043c': 'm', '\u043d': 'h', '\u043e': 'o', '\u043f': 'n', '\u0440': 'p',
	'\u0441': 'c', '\u0442': 't', '\u0443': 'y', '\u0445': 'x', '\u0455': 's', '\u0456': 'i', '\u0458': 'j', '\u0475': 'v', '\u04bb': 'h',
	'\u04cf': 'l', '\u0501': 'd', '\u051b': 'q', '\u051d': 'w',
	// Greek
	'\u03b1': 'a', '\u03b2': 'b', '\u03b5': 'e', '\u03b6': 'z', '\u03b9': 'i', '\u03ba': 'k', '\u03bc': 'm', '\u03bf': 'o', '\u03c1': 'p',
	'\u03c4': 't', '\u03c7': 'x', '\u0397': 'h', '\u03b7': 'n', '\u039d': 'n', '\u03bd': 'v', '\u03a5': 'y', '\u03c5': 'u', '\u03b3': 'y',
	// Latin
	'\u0131': 'i', '\u0251': 'a', '\u0261': 'g', '\u217c': 'l',
	// Dashes and colons
	'\u2010': '-', '\u2011': '-', '\u2012': '-', '\u2013': '-', '\u2014': '-', '\u2212': '-', '\u02d0': ':', '\u2236': ':', '\ua789': ':',
}

// widened is by how much the characters from ! to ~ are moved that are as wide as those of Chinese or Japanese.
const widened = '\uff01' - '!'

// plain is how a label looks: in small letters, and in ASCII where it looks like that. disguised says that it is written otherwise.
func plain(label string) (text string, disguised bool) {
	text = strings.Map(func(c rune) rune {
		if '!' <= c-widened && c-widened <= '~' {
			c -= widened
		}
		if same, ok := alike[c]; ok {
			return same
		}
		c = unicode.ToLower(c)
		if same, ok := alike[c]; ok {
			return same
		}
		return c
	}, label)
	return text, text != strings.ToLower(label)
}

// LooksLike returns the pool that labels which by Route ask for none would ask for if they were written as they look; "" for none.
func (f *File) LooksLike(labels []string) string {
	looks := make([]string, 0, len(labels))
	for _, label := range labels {
		text, _ := plain(label)
		looks = append(looks, text)
	}
	pool, _ := f.Route(looks)
	return pool
}

// checkPlain returns an error if a label is not written as it looks, and looks like one that means something.
func (f *File) checkPlain(label string) error {
	text, disguised := plain(label)
	if !disguised {
		return nil
	}
	_, means := f.wishOf(text)
	means = means || anotherMachine.MatchString(text) ||
		slices.ContainsFunc(f.Pools, func(p Pool) bool { return setOf(p.Labels)[text] })
	if !means {
		return nil
	}
	return &LabelError{label, fmt.Sprintf("must be written in ASCII: it only looks like %q", shortened(text))}
}
