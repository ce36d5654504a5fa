package pools

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
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
	case "one_repository":
		return form{regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`), "must be owner/repo", nil}
	case "visibility":
		return form{regexp.MustCompile(`^(private|public|any)$`), "must be private, public or any", nil}
	case "image", "reference", "modal_image", "step", "registry_login":
		return imageForm(name)
	case "day", "hours", "zone":
		return warmForm(name)
	case "untrusted": // The words for it are names as those of pools.
		return form{formOf("pool").pattern, "must be refuse, allow or the name of a pool", nil}
	default:
		return settingForm(name)
	}
}

// imageForm returns the form of a text in or of an [Image].
func imageForm(name string) form {
	switch name {
	case "image":
		return form{
			regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?$`),
			"must be 1 to 40 of a-z, 0-9, . and -, beginning and ending with a letter or a digit", nil,
		}
	case "reference":
		const host, part, tag = `[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?`, `[a-z0-9][a-z0-9._-]{0,63}`, `:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
		return form{
			regexp.MustCompile("^(" + host + "/)?" + part + "(/" + part + "){0,7}(" + tag + "|(" + tag + ")?@sha256:[0-9a-f]{64})$"),
			"must be an image in a registry with its tag or digest, such as ubuntu:22.04 or ghcr.io/acme/tools@sha256:...", nil,
		}
	case "modal_image":
		// Modal's SDK checks names so; what begins with im- is an id.
		return form{
			regexp.MustCompile(`^(im-[A-Za-z0-9]{1,60}|([A-Za-z0-9_.-]{1,64}/){0,2}[A-Za-z0-9_.-]{1,64}(:[A-Za-z0-9_.-]{1,64})?)$`),
			"must be an image at Modal: an id such as im-..., or a name such as tools, tools:v2 or staging/tools", nil,
		}
	case "step":
		// What ends with \ would take the instruction after it, which may be of ours.
		return form{
			regexp.MustCompile(`^((RUN|ENV|ARG|WORKDIR|SHELL) |ADD (--[a-z]+=[^ ]+ )*https?://|COPY --from=)[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\\ ] *$`),
			`must be one line without \ at its end that begins with RUN, ENV, ARG, WORKDIR, SHELL, ADD and a URL, or COPY --from=`, setStep,
		}
	default: // registry_login
		return form{regexp.MustCompile(`^(static|aws|gcp)$`), "must be static, aws or gcp", nil}
	}
}

// settingForm returns the form of a text in a [Setting].
func settingForm(name string) form {
	switch name {
	case "region":
		return form{regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`), "must be a region of Modal's, such as us-east", nil}
	case "cloud":
		return form{regexp.MustCompile(`^[a-z]{1,20}$`), "must be a cloud in Modal's words, such as aws, gcp or oci", nil}
	case "cache":
		return form{
			regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`),
			"must be 1 to 40 of a-z, 0-9 and -, beginning and ending with a letter or a digit", nil,
		}
	case "runtime":
		return form{regexp.MustCompile(`^(gvisor|vm)$`), "must be gvisor or vm", nil}
	case "variable":
		return form{regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`), "must be up to 256 letters, digits and _, and not begin with a digit", nil}
	case "value":
		// modal.com/docs/guide/secrets has the most that Modal takes, in characters. They are counted in bytes here, to be safe.
		return form{regexp.MustCompile(`^[^\x00]*$`), "must be a text without NUL", setValue}
	case "object":
		// So Modal's SDK checks names of sandboxes; those of Secrets and Volumes are of the same kind.
		return form{regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`), "must be 1 to 64 letters, digits and - _ .", nil}
	case "path":
		return form{regexp.MustCompile(`^(/[A-Za-z0-9_.-]{1,64}){1,8}$`), "must be an absolute path of up to 8 names of letters, digits and - _ .", setPath}
	case "network":
		return form{regexp.MustCompile(`^(open|block|allow)$`), "must be open, block or allow", nil}
	case "domain":
		return form{
			regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z][a-z0-9-]{0,61}[a-z0-9]$`),
			"must be the name of a host in small letters, or *. and a name for all below", nil,
		}
	case "cidr":
		return form{regexp.MustCompile(`^[0-9a-f.:]{2,40}/[0-9]{1,3}$`), errCIDR.Error(), setCIDR}
	default:
		panic("pools: no form " + name) // A tag of this package is wrong.
	}
}

// maxStep is the most bytes that an instruction of a Dockerfile has: a hundred of them are well below what a call takes.
const maxStep = 8192

// maxValue is the most bytes that the value of a variable has.
const maxValue = 32_768

var (
	errValue = fmt.Errorf("must be at most %d bytes", maxValue)
	errStep  = fmt.Errorf("must be at most %d bytes", maxStep)
	errPath  = errors.New("must be a path as short as it can be, such as /data")
	errCIDR  = errors.New("must be a range of addresses that begins with its first one, such as 10.0.0.0/8")
)

func setValue(to reflect.Value, text string) error {
	if len(text) > maxValue {
		return errValue
	}
	to.SetString(text)
	return nil
}

func setStep(to reflect.Value, text string) error {
	if len(text) > maxStep {
		return errStep
	}
	to.SetString(text)
	return nil
}

func setPath(to reflect.Value, text string) error {
	if path.Clean(text) != text {
		return errPath
	}
	to.SetString(text)
	return nil
}

func setCIDR(to reflect.Value, text string) error {
	prefix, err := netip.ParsePrefix(text)
	if err != nil || prefix.Masked() != prefix {
		return errCIDR
	}
	to.SetString(text)
	return nil
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
