package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var (
	errURL      = errors.New("must be an absolute URL with a host")
	errURLPort  = errors.New("must have a port from 1 to 65535, if any")
	errURLQuery = errors.New("must have neither a query nor a fragment")
	errURLUser  = errors.New("must have no user name, password or token before the host")
)

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "":
		return nil, errURL
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errURLQuery
	}
	if port := u.Port(); port != "" && !isPort(port) {
		return nil, errURLPort
	}
	return u, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// checkURLs applies the tags schemes and userinfo to a field of URLs.
func checkURLs(v reflect.Value, tag reflect.StructTag) error {
	urls, _ := reflect.TypeAssert[[]*url.URL](v)
	if single, ok := reflect.TypeAssert[*url.URL](v); ok {
		urls = []*url.URL{single}
	}
	allowed := strings.Split(tag.Get("schemes"), ",")
	for _, u := range urls {
		switch {
		case !slices.Contains(allowed, u.Scheme):
			return fmt.Errorf("must be a URL of scheme %s", strings.Join(allowed, ", "))
		case u.User != nil && tag.Get("userinfo") != "true":
			return errURLUser
		}
	}
	return nil
}

// RedactURL returns u as text, with [redacted] for all that stands before its host: a user name can be a token, too.
func RedactURL(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	public := *u
	public.User = nil
	scheme, rest, _ := strings.Cut(public.String(), "://")
	return scheme + "://" + redacted + "@" + rest
}

// mayHoldSecret reports whether raw, the refused value of a field of type t, must not be shown for more than [Invalid] knows.
func mayHoldSecret(t reflect.Type, raw string) bool {
	isURL := t == reflect.TypeFor[*url.URL]() || t == reflect.TypeFor[[]*url.URL]()
	return isURL && strings.ContainsAny(raw, "?#")
}
