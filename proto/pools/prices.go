package pools

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Prices are in US dollars a second.
type Prices struct {
	CPUCore   float64 `doc:"of a physical core" max:"1" min:"0" yaml:"cpu_core"`
	MemoryGiB float64 `doc:"of a GiB of memory" max:"1" min:"0" yaml:"memory_gib"`
	// Region is how many times the price is paid for sandboxes whose regions are chosen.
	Region float64 `doc:"how many times as much a sandbox costs in regions of the pool's choice; absent: 1.75" max:"10" min:"1" yaml:"region_factor"`
	// GPU has every type that a pool can have, in capitals.
	GPU map[string]float64 `doc:"of one GPU, by its type; a type that is priced here is one that a pool may have" key:"gpu_type" max:"100" min:"0" yaml:"gpu"`
}

// modalPrices are Modal's list prices for sandboxes as they were published: cores and memory on 2026-10-08, GPUs on 2026-07-01
// (modal.com/pricing, modal.com/docs/guide/gpu). The types are those that Modal's guide names; the marks ! and +, which bar or allow an
// upgrade, change no price.
func modalPrices() Prices {
	return Prices{
		CPUCore: 0.00003942, MemoryGiB: 0.00000672,
		// 1.5 for wide regions such as us, 1.75 for narrow ones (modal.com/docs/guide/region-selection): the higher, so that
		// a budget holds.
		Region: 1.75,
		GPU: map[string]float64{
			"T4": 0.000164, "L4": 0.000222, "A10": 0.000306, "L40S": 0.000542, "A100": 0.000583, "A100-40GB": 0.000583,
			"A100-80GB": 0.000694, "RTX-PRO-6000": 0.000842, "H100": 0.001097, "H100!": 0.001097, "H200": 0.001261,
			"B200": 0.001736, "B200+": 0.001736,
		},
	}
}

// types are the GPUs that have a price, in order.
func (p Prices) types() []string { return slices.Sorted(maps.Keys(p.GPU)) }

// PricePerSecond is what a sandbox of the pool costs in US dollars a second, if it uses no more than it reserves. Modal bills for
// cores and memory what is used, if that is more.
func (p Pool) PricePerSecond(prices Prices) float64 {
	gpu, count := splitGPU(p.GPU)
	price := p.CPU*prices.CPUCore + float64(p.MemoryMiB)/mibPerGiB*prices.MemoryGiB + float64(count)*prices.GPU[gpu]
	if len(p.Regions) > 0 {
		price *= prices.Region
	}
	return price
}

// splitGPU takes "type" or "type:count" apart; the count of "" is 0.
func splitGPU(text string) (gpu string, count int) {
	gpu, number, several := strings.Cut(text, ":")
	switch {
	case gpu == "":
		return "", 0
	case !several:
		return gpu, 1
	}
	count, err := strconv.Atoi(number)
	if err != nil {
		return "", 0 // The form of GPUs has digits only.
	}
	return gpu, count
}
