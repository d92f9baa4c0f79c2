package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/wasmill/wasmill/runtime/status"
)

// supervisor tells systemd what the process is doing, as sd_notify(3) has it:
// ready, reloading, stopping, and a sign of life for the watchdog. Without a
// NOTIFY_SOCKET in the environment nothing is sent.
type supervisor struct{ log *slog.Logger }

// tell sends lines of state. Nobody but systemd misses one that is lost.
func (s supervisor) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}

// ready says that the instance serves, and what it serves. A pipeline that is
// not ready is no reason to start the process again: it says so in its status.
func (s supervisor) ready(st status.Status) {
	s.tell(daemon.SdNotifyReady + "\nSTATUS=" + summary(st))
}

// reloading says that files are being read again; ready ends it.
func (s supervisor) reloading() {
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (s supervisor) stopping() { s.tell(daemon.SdNotifyStopping + "\nSTATUS=draining") }

// watchdog sends a sign of life twice in each of the watchdog's intervals,
// until ctx ends, as long as alive returns: a process whose engine does not
// answer any more is started again by systemd.
func (s supervisor) watchdog(ctx context.Context, alive func(context.Context) status.Status) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("the watchdog of systemd is not served", "error", err)
	}
	if interval <= 0 || err != nil {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		s.tell(daemon.SdNotifyWatchdog + "\nSTATUS=" + summary(alive(ctx)))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// summary is the line that `systemctl status` shows.
func summary(st status.Status) string {
	if len(st.Problems) > 0 {
		return clean(st.Problems[0])
	}
	running := 0
	for i := range st.Pipelines {
		if st.Pipelines[i].State == status.StateRunning {
			running++
		}
	}
	return fmt.Sprintf("%d of %s running", running, plural(len(st.Pipelines), "pipeline"))
}
