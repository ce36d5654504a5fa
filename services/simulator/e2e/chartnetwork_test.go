package e2e_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type policy struct {
	PodSelector selector
	PolicyTypes []string
	Ingress     []struct {
		From  json.RawMessage
		Ports []struct{ Port any }
	}
	Egress []struct {
		To    json.RawMessage
		Ports []struct{ Port any }
	}
}

// allowed is what a policy lets through: a port, and who is at the other end, which is everyone if nothing is said.
type allowed struct {
	Port  any
	Peers string
}

// namespace are the peers of a policy that are in the namespace.
func namespace(name string) string {
	return `[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"` + name + `"}}}]`
}

func TestTheChartsNetworkPoliciesLetThroughWhatIsNeededOnly(t *testing.T) {
	t.Parallel()
	const internet = `[{"ipBlock":{"cidr":"0.0.0.0/0","except":["169.254.0.0/16"]}},{"ipBlock":{"cidr":"::/0","except":["fe80::/10"]}}]`
	metrics, nats, elsewhere := allowed{"admin", namespace("monitoring")}, allowed{4222.0, namespace("nats")}, allowed{443.0, internet}
	dns, dnsTCP, collector := allowed{53.0, ""}, allowed{53.0, ""}, allowed{4318.0, namespace("monitoring")}
	tests := []struct {
		name, service string
		in, out       []allowed
	}{
		{"token", "ingress", []allowed{{"http", ""}, metrics}, []allowed{dns, dnsTCP, {4222.0, ""}}},
		{"token", "worker", []allowed{metrics}, []allowed{dns, dnsTCP, {4222.0, ""}, elsewhere}},
		{"app", "ingress", []allowed{{"http", namespace("ingress-nginx")}, metrics}, []allowed{dns, dnsTCP, nats, collector}},
		{"app", "worker", []allowed{metrics}, []allowed{dns, dnsTCP, nats, elsewhere, collector}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.service, func(t *testing.T) {
			t.Parallel()
			all := chartObjectsOf(t, tt.name)
			d := all.deployments(t)[tt.service]
			policies := all.of("NetworkPolicy")
			policies = slices.DeleteFunc(policies, func(m manifest) bool { return !spec[policy](t, m).PodSelector.selects(d) })
			if len(policies) != 1 {
				t.Fatalf("%d policies are about it", len(policies))
			}
			p := spec[policy](t, policies[0])
			var in, out []allowed
			for _, rule := range p.Ingress {
				for _, port := range rule.Ports {
					in = append(in, allowed{port.Port, string(rule.From)})
				}
			}
			for _, rule := range p.Egress {
				for _, port := range rule.Ports {
					out = append(out, allowed{port.Port, string(rule.To)})
				}
			}
			if diff := cmp.Diff([]string{"Ingress", "Egress"}, p.PolicyTypes); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.in, in); diff != "" {
				t.Errorf("in: %s", diff)
			}
			if diff := cmp.Diff(tt.out, out); diff != "" {
				t.Errorf("out: %s", diff)
			}
		})
	}
}

func TestTheChartsObjectsFindTheirPods(t *testing.T) {
	t.Parallel()
	for _, name := range chartCases {
		all := chartObjectsOf(t, name)
		deployments := all.deployments(t)
		for _, m := range all {
			t.Run(name+" "+m.Kind+" "+m.Metadata.Name, func(t *testing.T) {
				t.Parallel()
				d := deployments[m.Metadata.Labels["app.kubernetes.io/component"]]
				switch m.Kind {
				case "PodDisruptionBudget":
					s := spec[struct {
						Selector       selector
						MaxUnavailable int
					}](t, m)
					if !s.Selector.selects(d) || s.MaxUnavailable != 1 {
						t.Errorf("selects others, or lets no node be drained: %+v", s)
					}
				case "Service":
					s := spec[struct {
						Selector map[string]string
						Ports    []struct{ TargetPort string }
					}](t, m)
					if !(selector{s.Selector}).selects(d) || len(s.Ports) != 1 || d.Template.Spec.Containers[0].port(s.Ports[0].TargetPort) != 8080 {
						t.Errorf("does not lead to webhooks and nothing else: %+v", s)
					}
				case "HorizontalPodAutoscaler", "ScaledObject":
					s := spec[struct{ ScaleTargetRef struct{ Kind, Name string } }](t, m)
					if s.ScaleTargetRef.Kind != "Deployment" || s.ScaleTargetRef.Name != m.Metadata.Name || d.Replicas != nil {
						t.Errorf("must scale %s, which must not say how many there are: %+v", m.Metadata.Name, s)
					}
				case "PodMonitor":
					s := spec[struct {
						Selector                selector
						ScrapeClassicHistograms bool
					}](t, m)
					if !s.Selector.selects(d) || !s.ScrapeClassicHistograms {
						t.Errorf("selects others, or leaves out what rules and dashboards are about: %+v", s)
					}
				}
			})
		}
	}
}
