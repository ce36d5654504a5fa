package pools_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"modal-github-runner/proto/pools"
)

// disguised are texts that look like the one of ASCII, in Latin letters and others, and how they may come about.
func disguised() map[string]string {
	return map[string]string{
		"a Cyrillic o": "m\u043edal", "all that is alike in Cyrillic": "\u043c\u043e\u0501\u0430\u04cf", "capitals of it": "\u041c\u041e\u0500\u0410\u04c0",
		"Greek": "m\u03bfd\u03b1l", "Greek capitals": "\u039c\u039fD\u0391L", "wide letters": "\uff4d\uff4f\uff44\uff41\uff4c", "wide capitals": "\uff2dODAL",
		"a Roman fifty": "moda\u217c", "another a": "mod\u0251l",
	}
}

func TestAJobWhosePoolOnlyLooksLikeOneOfOursIsKnownAsThat(t *testing.T) {
	t.Parallel()
	f, err := pools.Parse([]byte("pools: {default: {labels: [modal]}, gpu: {labels: [Modal, gpu-a100]}, two: {labels: [two]}}"))
	if err != nil {
		t.Fatal(err)
	}
	for how, label := range disguised() {
		labels := []string{"self-hosted", label}
		if pool, err := f.Route(labels); pool != "" || err != nil {
			t.Errorf("%s: it is routed to %q, %v", how, pool, err)
		}
		if pool := f.LooksLike(labels); pool != "default" {
			t.Errorf("%s: it looks like %q", how, pool)
		}
	}
	for labels, want := range map[string]string{
		"m\u043edal gpu\u2013a100": "gpu", "m\u043edal two": "default", "ubuntu-latest": "", "": "",
		"m\u043edal-x": "", "mod\u00e4l": "", "moda\u0301l": "", "\u043c\u043e\u0434\u0430\u043b": "", "\u6a21\u6001": "", "\u2212": "", "m\u00f8dal": "",
	} {
		if got := f.LooksLike(strings.Fields(labels)); got != want {
			t.Errorf("%q looks like %q, want %q", labels, got, want)
		}
	}
}

// A job gets what it says, or is told why not: it must not run without what it seems to ask for.
func TestALabelThatOnlyLooksLikeOneThatMeansSomethingIsRefused(t *testing.T) {
	t.Parallel()
	f, err := pools.Parse([]byte("images: {ml: {modal: ml}}\npools: {default: {labels: [modal], max: {cpu: 4, gpu: [t4], docker: true}}, big: {labels: [modal, Big]}}"))
	if err != nil {
		t.Fatal(err)
	}
	for label, looks := range map[string]string{
		"\u0441pu:4": "cpu:4", "cpu\uff1a4": "cpu:4", "cpu\u22124": "cpu-4", "gpu\u2013t4": "gpu-t4", "GPU\u22362": "gpu:2", "d\u043ecker": "docker", "n\u0435t:none": "net:none",
		"r\u0430m:16": "ram:16", "image:\u043cl": "image:ml", "\u0430rm64": "arm64", "m\u043edal": "modal", "b\u0456g": "big", "\u0412ig": "big",
	} {
		_, err := f.Fit(f.Pools[0], []string{"modal", label})
		want := fmt.Sprintf("must be written in ASCII: it only looks like %q", looks)
		if refused, ok := errors.AsType[*pools.LabelError](err); !ok || refused.Rule != want || refused.Label != label {
			t.Errorf("%+q:\n got %v\nwant %s", label, err, want)
		}
	}
	for _, label := range []string{
		"\u0440\u0430\u0443\u0440\u0430l", "m\u043edal-x", "mod\u00e4l", "caf\u00e9", "\U0001f600", "\u0441pu-bound", "gpu\u2013runner", "\u6a21\u6001", "job-\u0441", "\xff",
	} {
		if _, err := f.Fit(f.Pools[0], []string{"modal", label}); err != nil {
			t.Errorf("%+q is a label as any other: %v", label, err)
		}
	}
}
