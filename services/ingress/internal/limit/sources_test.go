package limit_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modal-github-runner/services/ingress/internal/limit"
)

// few is a rate that is soon used up.
var few = limit.Rate{PerSecond: 1, Burst: 3}

func from(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.RemoteAddr = peer
	r.Header["X-Forwarded-For"] = forwarded
	return r
}

func TestARequestsSourceIsTheAddressThatNoStrangerCanChoose(t *testing.T) {
	t.Parallel()
	const peer = "198.51.100.1:4000"
	for name, test := range map[string]struct {
		proxies int
		request *http.Request
		want    string // the peer of a request without proxies that has the same source; empty: none
	}{
		"the peer": {0, from(peer), "198.51.100.1:1"},
		"the header counts for nothing by itself":     {0, from(peer, "203.0.113.9"), peer},
		"one proxy names its client":                  {1, from(peer, "203.0.113.9"), "203.0.113.9:1"},
		"what the client itself wrote does not count": {1, from(peer, "192.0.2.1, 203.0.113.9"), "203.0.113.9:1"},
		"nor if it wrote a header of its own":         {1, from(peer, "192.0.2.1", "203.0.113.9"), "203.0.113.9:1"},
		"the outer of two proxies names the client":   {2, from(peer, "192.0.2.1, 203.0.113.9,10.0.0.1"), "203.0.113.9:1"},
		"a client that came round a proxy":            {2, from(peer, "203.0.113.9"), peer},
		"a proxy that adds nothing":                   {1, from(peer), peer},
		"a proxy that adds what is no address":        {1, from(peer, "203.0.113.9, unknown"), peer},
		"a proxy that adds the port, too":             {1, from(peer, "203.0.113.9:55555"), "203.0.113.9:1"},
		"all addresses of a customer in IPv6":         {0, from("[2001:db8:1:2::3]:1"), "[2001:db8:1:2:ffff::]:2"},
		"IPv4 in the form of IPv6":                    {0, from("[::ffff:198.51.100.1]:1"), peer},
		"a private peer is a proxy unknown to us":     {0, from("10.1.2.3:1"), ""},
		"so is one on this machine":                   {0, from("127.0.0.1:1"), ""},
		"so is one on this link":                      {0, from("[fe80::1%eth0]:1"), ""},
		"so is one in a private network of IPv6":      {0, from("[fd00::1]:1"), ""},
		"no address at all":                           {0, from("@"), ""},
	} {
		sources, direct := limit.NewSources(test.proxies, few), limit.NewSources(0, few)
		want := limit.Source{}
		if test.want != "" {
			want = direct.Of(from(test.want))
		}
		if got := sources.Of(test.request); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	direct := limit.NewSources(0, few)
	if direct.Of(from("[2001:db8:1:2::]:1")) == direct.Of(from("[2001:db8:1:3::]:1")) || direct.Of(from(peer)) == direct.Of(from("198.51.100.2:1")) {
		t.Error("two customers are one source")
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("192.0.2.1", "203.0.113.9")
	f.Add("", "[2001:db8::1]:443")
	f.Add(", ,", "fe80::1%eth0")
	f.Add("::ffff:1.2.3.4", "unknown")
	f.Fuzz(func(t *testing.T, written, added string) {
		if strings.Contains(added, ",") || strings.TrimSpace(added) != added {
			t.Skip("no proxy adds that")
		}
		const peer = "198.51.100.1:1"
		direct, proxied := limit.NewSources(0, few), limit.NewSources(1, few)
		if direct.Of(from(peer, written, added)) != direct.Of(from(peer)) {
			t.Error("the header counts although no proxy is trusted")
		}
		if got, want := proxied.Of(from(peer, written, added)), proxied.Of(from(peer, added)); got != want {
			t.Errorf("the client chose %v instead of %v", got, want)
		}
		if _, err := netip.ParseAddr(added); err != nil {
			return
		}
		if got, want := proxied.Of(from(peer, added)), direct.Of(from(net.JoinHostPort(added, "1"))); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestASourceIsSuspectOnceItHasSentTooMuchThatIsNotSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sources := limit.NewSources(0, few)
		stranger, other := sources.Of(from("198.51.100.1:1")), sources.Of(from("198.51.100.2:1"))
		for n := range few.Burst {
			if sources.Suspect(stranger) {
				t.Errorf("suspect after %d requests", n)
			}
			sources.Learn(stranger, false)
		}
		if !sources.Suspect(stranger) || sources.Suspect(other) {
			t.Errorf("suspect: %t, another one: %t", sources.Suspect(stranger), sources.Suspect(other))
		}
		time.Sleep(time.Second)
		if sources.Suspect(stranger) {
			t.Error("still suspect a second later")
		}
		sources.Learn(stranger, false)
		if !sources.Suspect(stranger) {
			t.Error("not suspect after one more")
		}
	})
}

func TestASourceThatOnceSentASignatureIsNeverSuspect(t *testing.T) {
	t.Parallel()
	for name, learnt := range map[string][]bool{
		"before the others": {true, false, false, false, false, false},
		"after the others":  {false, false, false, false, true, false},
	} {
		sources := limit.NewSources(0, few)
		source := sources.Of(from("198.51.100.1:1"))
		for _, verified := range learnt {
			sources.Learn(source, verified)
		}
		if sources.Suspect(source) {
			t.Errorf("suspect, with the signature %s", name)
		}
	}
}

func TestWhoCantBeToldFromOthersIsNeverSuspect(t *testing.T) {
	t.Parallel()
	sources := limit.NewSources(0, few)
	for range 2 * few.Burst {
		sources.Learn(sources.Of(from("127.0.0.1:1")), false)
	}
	if sources.Suspect(sources.Of(from("10.0.0.1:1"))) {
		t.Error("suspect")
	}
}

// No test runs beside this one, so that what the heap grows by is its own.
func TestHoweverManySourcesThereAreTheirMemoryIsBounded(t *testing.T) {
	sources := limit.NewSources(0, few)
	address := func(n int) limit.Source {
		return sources.Of(from(fmt.Sprintf("[2001:db8:%x:%x::]:1", n>>16, n&0xffff)))
	}
	spend := func(source limit.Source) {
		for range few.Burst {
			sources.Learn(source, false)
		}
	}
	before := heap()
	for n := range 20_000 {
		spend(address(n))
	}
	if grown := int64(heap()) - int64(before); grown > 4096*512 {
		t.Errorf("%d bytes, want at most 2 MiB", grown)
	}
	if sources.Suspect(address(0)) || !sources.Suspect(address(19_999)) || !sources.Suspect(address(20_000-4096)) || sources.Suspect(address(20_000-4097)) {
		t.Error("want the last 4,096 to be known and no other")
	}
	spend(address(20_000 - 4096))
	spend(address(20_000))
	if !sources.Suspect(address(20_000-4096)) || sources.Suspect(address(20_000-4095)) {
		t.Error("want the one that was used longest ago to be forgotten")
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
