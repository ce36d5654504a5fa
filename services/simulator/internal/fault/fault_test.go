package fault_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"modal-github-runner/services/simulator/internal/fault"
)

func TestNext(t *testing.T) {
	always := fault.Outcome{Error: "503"}
	none := fault.Outcome{}
	tests := []struct {
		name  string
		rules []fault.Rule
		ops   []string
		want  []fault.Outcome
	}{
		{"without a rule nothing goes wrong", nil, []string{"github.x"}, []fault.Outcome{none}},
		{
			"a rule strikes what its pattern matches",
			[]fault.Rule{{Op: "github.*", Error: "503"}},
			[]string{"github.x", "modal.x"},
			[]fault.Outcome{always, none},
		},
		{
			"a rule is spent after its times",
			[]fault.Rule{{Op: "a", Times: 2, Error: "503"}},
			[]string{"a", "a", "a"},
			[]fault.Outcome{always, always, none},
		},
		{
			"the first rule that strikes wins",
			[]fault.Rule{{Op: "a", Times: 1, Error: "503"}, {Op: "*", Error: "500"}},
			[]string{"a", "a"},
			[]fault.Outcome{always, {Error: "500"}},
		},
		{
			"latency and after are passed on",
			[]fault.Rule{{Op: "a", Latency: fault.Duration(time.Second), Error: "502", After: true}},
			[]string{"a"},
			[]fault.Outcome{{Latency: time.Second, Error: "502", After: true}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := fault.New(1)
			if err := i.Set(tt.rules); err != nil {
				t.Fatal(err)
			}
			var got []fault.Outcome
			for _, op := range tt.ops {
				got = append(got, i.Next(op))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNilInjectorNeverStrikes(t *testing.T) {
	var i *fault.Injector
	if got := i.Next("github.x"); got != (fault.Outcome{}) {
		t.Errorf("got %+v, want no fault", got)
	}
}

func TestSameSeedStrikesTheSame(t *testing.T) {
	draw := func(seed uint64) (string, map[string]int) {
		i := fault.New(seed)
		if err := i.Set([]fault.Rule{{Op: "*", Probability: 0.5, Error: "x"}}); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for range 200 {
			out.WriteString(i.Next("op").Error + ".")
		}
		return out.String(), i.Strikes()
	}
	first, strikes := draw(7)
	again, _ := draw(7)
	other, _ := draw(8)
	if first != again {
		t.Error("the same seed drew differently")
	}
	if first == other {
		t.Error("another seed drew the same 200 outcomes")
	}
	if n := strikes["op"]; n < 60 || n > 140 {
		t.Errorf("a probability of one half struck %d of 200 times", n)
	}
}

func TestSetRefusesWithoutChange(t *testing.T) {
	tests := []struct {
		name string
		rule fault.Rule
		want string
	}{
		{"an empty pattern", fault.Rule{}, `op: must be a pattern of path.Match (got "")`},
		{"a broken pattern", fault.Rule{Op: "["}, `op: must be a pattern of path.Match (got "[")`},
		{"a probability over one", fault.Rule{Op: "a", Probability: 1.5}, "probability: must be between 0 and 1 (got 1.5)"},
		{"a negative count", fault.Rule{Op: "a", Times: -1}, "times: must not be negative (got -1)"},
		{"a negative latency", fault.Rule{Op: "a", Latency: -1}, "latency: must not be negative (got -1ns)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := fault.New(1)
			if err := i.Set([]fault.Rule{{Op: "kept", Error: "503"}}); err != nil {
				t.Fatal(err)
			}
			err := i.Set([]fault.Rule{{Op: "new"}, tt.rule})
			if err == nil || !strings.Contains(err.Error(), "rule 1: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want it to name rule 1 and %q", err, tt.want)
			}
			if got := i.Next("kept").Error; got != "503" {
				t.Errorf("the old rule gives %q after a refused Set, want 503", got)
			}
		})
	}
}

func TestRuleReadsAndWritesJSON(t *testing.T) {
	rules := []fault.Rule{{Op: "webhook.queued", Probability: 0.1, Latency: fault.Duration(1500 * time.Millisecond), Error: "lost"}}
	b, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"op":"webhook.queued","probability":0.1,"latency":"1.5s","error":"lost"}]`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	var back []fault.Rule
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules, back); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`[{"latency":3}]`, `[{"latency":"3 parsecs"}]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestStrikesAreACopy(t *testing.T) {
	i := fault.New(1)
	if err := i.Set([]fault.Rule{{Op: "a"}}); err != nil {
		t.Fatal(err)
	}
	i.Next("a")
	got := i.Strikes()
	maps.Copy(got, map[string]int{"a": 99})
	if n := i.Strikes()["a"]; n != 1 {
		t.Errorf("a caller changed the count to %d, want 1", n)
	}
}
