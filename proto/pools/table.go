package pools

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable prints the pools for operators, one a line.
func (f *File) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "POOL\tLABELS\tIMAGE\tCORES\tMEMORY\tGPU\tTIMEOUT\tIDLE\tMOST\tWARM\tUSD/DAY\tUSD/HOUR")
	for _, p := range f.Pools {
		fmt.Fprintf(table, "%s\t%s\t%s\t%v-%v\t%d-%dMiB\t%s\t%v\t%v\t%s\t%s\t%s\t%.4f\n",
			p.Name, strings.Join(p.Labels, ","), p.Image, p.CPU, p.CPULimit, p.MemoryMiB, p.MemoryLimitMiB, cmp.Or(p.GPU, "-"), p.Timeout, p.IdleLimit,
			orDash(float64(p.MaxSandboxes)), p.Warm, orDash(p.DailyBudget), p.PricePerSecond(f.Prices)*time.Hour.Seconds())
	}
	fmt.Fprintf(table, "(all)\t\t\t\t\t\t\t\t%s\t\t%s\t\n", orDash(float64(f.MaxSandboxes)), orDash(f.DailyBudget))
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write pools: %w", err)
	}
	return nil
}

// orDash writes a limit.
func orDash(limit float64) string {
	if limit == 0 {
		return "-"
	}
	return strconv.FormatFloat(limit, 'f', -1, 64)
}
