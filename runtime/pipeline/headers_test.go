package pipeline

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmill/wasmill/sdk/abi"
)

// A header that a stage sets takes the place of the event's own, for the next
// stage as for the topic.
func TestAHeaderOfAStageReplacesTheOneOfTheEventInAChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Stages = []Stage{{Name: "a", Plugin: "a"}, {Name: "b", Plugin: "b"}}
		src := newSource("1")
		e := &src.events[0]
		for _, h := range [][2]string{{"Level", "old"}, {"Kept", "yes"}} {
			e.Headers = abi.AppendHeader(e.Headers, h[0], h[1])
			e.HeaderCount++
		}
		var seen []string
		r := start(t, cfg, src, func(stage, _ int) (Processor, error) {
			if stage == 0 {
				return &funcProc{event: func(_ *abi.Event, w *abi.ResponseWriter, i uint32) error {
					w.Output(&abi.Output{
						Source: i, Flags: abi.FlagPayloadRef | abi.FlagKeepHeaders,
						Headers: abi.AppendHeader(nil, "Level", "new"), HeaderCount: 1,
					})
					return nil
				}}, nil
			}
			return &funcProc{event: func(e *abi.Event, w *abi.ResponseWriter, i uint32) error {
				for block := e.Headers; ; {
					k, v, rest, ok := abi.NextHeader(block)
					if !ok {
						return pass(e, w, i)
					}
					seen = append(seen, string(k)+"="+string(v))
					block = rest
				}
			}}, nil
		})
		synctest.Wait()
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"Kept=yes", "Level=new"}, seen); diff != "" {
			t.Errorf("headers that the second stage sees (-want +got):\n%s", diff)
		}
		if h := r.log.all()[0].headers; h["Level"] != "new" || h["Kept"] != "yes" {
			t.Errorf("headers of the output: %v", h)
		}
	})
}
