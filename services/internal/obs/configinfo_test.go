package obs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"modal-github-runner/services/internal/obs"
)

func TestOneSeesWhichConfigurationIsInForceAndWhetherTheFileIsGood(t *testing.T) {
	t.Parallel()
	hash, bad := "0123abcd", error(nil)
	metrics := obs.NewConfigInfo("toy", func() (string, error) { return hash, bad })
	check := func(want string) {
		t.Helper()
		want = `# HELP toy_config_info Which configuration file is in force; always 1.
# TYPE toy_config_info gauge
toy_config_info{hash="0123abcd"} 1
# HELP toy_config_last_reload_successful Whether the configuration file is in force as it is now; 0 if it has mistakes.
# TYPE toy_config_last_reload_successful gauge
toy_config_last_reload_successful ` + want + "\n"
		if err := testutil.CollectAndCompare(metrics, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	check("1")
	bad = errors.New("a mistake")
	check("0")
}
