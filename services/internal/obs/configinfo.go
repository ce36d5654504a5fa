package obs

import "github.com/prometheus/client_golang/prometheus"

// configInfo tells of a file that is read again when it changes.
type configInfo struct {
	info, success *prometheus.Desc
	state         func() (hash string, err error)
}

// NewConfigInfo returns two metrics of a configuration file: SERVICE_config_info, always 1, whose label is a hash of what is in
// force, so that one sees whether all processes have the same; and SERVICE_config_last_reload_successful, 0 while the file can't be
// used. state returns both.
func NewConfigInfo(service string, state func() (hash string, err error)) prometheus.Collector {
	return &configInfo{
		info: prometheus.NewDesc(service+"_config_info", "Which configuration file is in force; always 1.", []string{"hash"}, nil),
		success: prometheus.NewDesc(service+"_config_last_reload_successful",
			"Whether the configuration file is in force as it is now; 0 if it has mistakes.", nil, nil),
		state: state,
	}
}

// Describe implements [prometheus.Collector].
func (c *configInfo) Describe(out chan<- *prometheus.Desc) {
	out <- c.info
	out <- c.success
}

// Collect implements [prometheus.Collector].
func (c *configInfo) Collect(out chan<- prometheus.Metric) {
	hash, err := c.state()
	success := 1.0
	if err != nil {
		success = 0
	}
	out <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, hash)
	out <- prometheus.MustNewConstMetric(c.success, prometheus.GaugeValue, success)
}
