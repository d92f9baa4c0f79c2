package hosttest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wasmill/wasmill/host/hosttest"
	"github.com/wasmill/wasmill/plugins/builtin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuiltins(t *testing.T) {
	h := openHost(t)
	configs := map[string]string{
		"threshold": `{"pointer":"/value","min":3,"else":"weak"}`,
	}
	for name, module := range builtin.Modules() {
		t.Run(name, func(t *testing.T) {
			hosttest.Run(t, module, hosttest.Options{Host: h, Name: name, Config: []byte(configs[name]), Outputs: []string{"weak"}, Steady: enough})
		})
	}
}
