package pools

import (
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"modal-github-runner/proto/wire"
)

// form is what a text may be. A text has a form if the pattern matches and set, if there is one, returns no error.
type form struct {
	pattern *regexp.Regexp
	// rule is what is broken by a text that does not match.
	rule string
	// set stores a text that matches in a field of another type or in another spelling, and returns the rule that it breaks;
	// without it the text is stored as it is.
	set func(to reflect.Value, text string) error
}

// formOf returns the form that a tag names.
func formOf(name string) form {
	switch name {
	case "pool":
		return form{regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`), wire.ErrPoolName.Error(), nil}
	case "label":
		// GitHub's runner takes labels of up to 256 characters, in a list with commas.
		return form{regexp.MustCompile(`^[!-+\--~]{1,256}$`), "must be 1 to 256 of ASCII without white space and commas", nil}
	case "memory":
		return form{regexp.MustCompile(`^[1-9][0-9]{0,6}(MiB|GiB)$`), "must be a whole number of MiB or GiB such as 512MiB or 4GiB", setMemory}
	case "duration":
		return form{
			regexp.MustCompile(`^([0-9]{1,5}h([0-9]{1,5}m)?([0-9]{1,5}s)?|[0-9]{1,5}m([0-9]{1,5}s)?|[0-9]{1,5}s)$`),
			"must be hours, minutes and seconds such as 6h15m or 90s", setDuration,
		}
	case "gpu_type":
		return form{regexp.MustCompile(`^[A-Z0-9-]{1,40}[!+]?$`), "must be a type of Modal's in capitals, such as T4", nil}
	case "gpu":
		return form{
			regexp.MustCompile(`^[A-Za-z0-9-]{1,40}[!+]?(:[1-8])?$`),
			"must be a type of Modal's, alone or with a count from 1 to 8, such as T4 or A100-80GB:2", setGPU,
		}
	case "owner":
		return form{regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`), "must be the name of an account at GitHub", nil}
	case "repository":
		return form{regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/([A-Za-z0-9_.-]{1,100}|\*)$`), wire.ErrRepoPattern.Error(), nil}
	default:
		panic("pools: no form " + name) // A tag of this package is wrong.
	}
}

func setMemory(to reflect.Value, text string) error {
	factor := int64(1)
	if strings.HasSuffix(text, "GiB") {
		factor = 1024
	}
	n, err := strconv.ParseInt(text[:len(text)-len("MiB")], 10, 64)
	to.SetInt(n * factor)
	return err
}

func setDuration(to reflect.Value, text string) error {
	d, err := time.ParseDuration(text)
	to.SetInt(int64(d))
	return err
}

// A10 machines have four GPUs at most, all others eight (modal.com/docs/guide/gpu).
const maxA10 = 4

var errA10 = errors.New("must have a count from 1 to 4 for A10")

func setGPU(to reflect.Value, text string) error {
	text = strings.ToUpper(text)
	if gpu, count := splitGPU(text); gpu == "A10" && count > maxA10 {
		return errA10
	}
	to.SetString(text)
	return nil
}
