package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The Go heap of a quiet instance is some 10 MiB. What makes a process grow is
// the embedded server's file store: it caches what was written or read in the
// last ten seconds, in blocks of 8 MiB, and drops them by leaving them to the
// collector. With the default target (a heap of twice what is live) the process
// would stay at its peak long after a burst. So:
//
//   - a soft limit keeps garbage from piling up: the collector runs, and pages
//     go back to the system, before the process is much larger than what it uses;
//   - the limit follows what is live, because a limit below that would make the
//     collector run without end and gain nothing;
//   - after a burst, when nothing allocates and so nothing collects, one
//     collection gives the rest back.
//
// GOMEMLIMIT and GOGC, when set, are the operator's word and turn this off.
const (
	memoryFloor = 84 << 20 // the limit while little is live
	memorySpare = 28 << 20 // what may pile up beside 5/4 of what is live
	memoryTick  = time.Second

	quietTicks = 20       // so long without a collection …
	quietHeap  = 32 << 20 // … and a heap above this: collect
)

// memoryLimit is the soft limit for a heap of which so many bytes are live.
func memoryLimit(live uint64) int64 { return int64(max(memoryFloor, live+live/4+memorySpare)) }

// governMemory sets the soft limit now and adjusts it until ctx is done. The
// returned function waits for the end.
func governMemory(ctx context.Context, getenv func(string) string) (wait func()) {
	if getenv("GOMEMLIMIT") != "" || getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetMemoryLimit(memoryFloor)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(memoryTick)
		defer tick.Stop()
		g := governor{setLimit: debug.SetMemoryLimit, collect: debug.FreeOSMemory}
		for {
			select {
			case <-tick.C:
				g.tick(readMemory())
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { <-done }
}

// memoryUse is what the runtime says of itself.
type memoryUse struct {
	live, heap uint64 // bytes: marked by the last collection; in objects now, dead ones included
	cycles     uint64 // collections so far
}

func readMemory() memoryUse {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return memoryUse{live: s[0].Value.Uint64(), heap: s[1].Value.Uint64(), cycles: s[2].Value.Uint64()}
}

// governor is the rule, apart from the clock and the runtime.
type governor struct {
	setLimit func(int64) int64
	collect  func()

	limit  int64
	cycles uint64
	quiet  int // ticks without a collection
}

func (g *governor) tick(m memoryUse) {
	if limit := memoryLimit(m.live); limit != g.limit {
		g.limit = limit
		g.setLimit(limit)
	}
	if m.cycles != g.cycles {
		g.cycles, g.quiet = m.cycles, 0
		return
	}
	if g.quiet++; g.quiet >= quietTicks && m.heap > quietHeap {
		g.quiet = 0
		g.collect()
	}
}
