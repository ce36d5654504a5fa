package limit

import (
	"net/http"
	"net/netip"
	"strings"
)

// ipv6Source is the length of the prefix that one customer gets at least, so that all its addresses are one source.
const ipv6Source = 64

// Sources know who sends what nobody vouched for: each request without a good signature takes a token out of its source's
// bucket. A source that once sent a good one is never suspect again: it is GitHub, or a proxy that GitHub comes through, and
// whoever else does must not keep GitHub out. It is safe for concurrent use.
type Sources struct {
	proxies int
	buckets *buckets[Source]
}

// Source is where a request came from: an IPv4 address or the /64 of an IPv6 address. The zero value is a source that can't
// be told from others, and never suspect.
type Source struct{ prefix netip.Prefix }

// NewSources returns sources of which none is suspect. So many proxies stand between the Internet and this process, each of
// which adds its client's address to X-Forwarded-For; with 0 that header is not looked at.
func NewSources(proxies int, r Rate) *Sources {
	return &Sources{proxies: proxies, buckets: newBuckets[Source](r)}
}

// Of returns the source of a request. Beyond the addresses that our own proxies added, X-Forwarded-For is what a stranger
// wrote, and not looked at. If it is shorter than it must be, or what it says is no address, the peer is the source.
func (s *Sources) Of(r *http.Request) Source {
	if s.proxies > 0 {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if n := len(hops) - s.proxies; n >= 0 {
			if addr, ok := parseAddr(strings.TrimSpace(hops[n])); ok {
				return sourceOf(addr)
			}
		}
	}
	addr, _ := parseAddr(r.RemoteAddr)
	return sourceOf(addr)
}

// Suspect reports whether a source has sent too much without a good signature.
func (s *Sources) Suspect(source Source) bool { return s.buckets.empty(source) }

// Learn takes into account that a request of source is over.
func (s *Sources) Learn(source Source, verified bool) {
	switch {
	case source == Source{}:
	case verified:
		s.buckets.fill(source)
	default:
		s.buckets.take(source)
	}
}

// parseAddr reads an address with or without a port: some proxies add the latter.
func parseAddr(s string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr(), true
	}
	addr, err := netip.ParseAddr(s)
	return addr, err == nil
}

// sourceOf tells addresses of the Internet apart. All others belong to proxies that nobody told us of, which strangers and
// GitHub have in common, or to networks without strangers.
func sourceOf(addr netip.Addr) Source {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return Source{}
	}
	length := addr.BitLen()
	if addr.Is6() {
		length = ipv6Source
	}
	return Source{netip.PrefixFrom(addr, length).Masked()}
}
