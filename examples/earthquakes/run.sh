#!/usr/bin/env bash
# Runs the example: builds its plugins, starts wasmill, publishes a week of
# earthquakes and shows what comes out. `make run` calls it.
#
# Ctrl-C stops it. With ONCE=1, or when the output is not a terminal, it stops
# by itself once everything has been shown.
set -euo pipefail
cd "$(dirname "$0")"

wasmill=${WASMILL:-../../bin/wasmill}
log=run.log
[ -t 1 ] || ONCE=1

say() { printf '\n== %s\n' "$*"; }
# show prints a command as one would type it, then runs it.
show() {
  printf '\n$ wasmill'
  for word; do
    case $word in
    *[!a-zA-Z0-9_./:=-]*) printf " '%s'" "$word" ;;
    *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$wasmill" "$@"
}

pid=
stop() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "$pid" ]; then
    say "stopping: what is in flight is finished first"
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || code=$?
  fi
  exit "$code"
}
trap stop EXIT
trap 'exit 0' INT TERM

# died ends the script with the exit code and the log of a wasmill that ended.
died() {
  cat "$log" >&2
  wait "$pid" || { code=$? pid=; exit "$code"; }
  pid=
  exit 1
}

# until_so waits at most two minutes until the status matches, or no longer does.
until_so() {
  for _ in $(seq 600); do
    kill -0 "$pid" 2>/dev/null || died
    if status=$("$wasmill" status -o json 2>/dev/null) && "$@" <<<"$status"; then
      return
    fi
    sleep 0.2
  done
  echo "wasmill does not get there; its log is $PWD/$log" >&2
  exit 1
}
ready() { grep -qE '"ready": ?true'; }
caught_up() { ! grep -E '"(lag|in_flight)": ?[1-9]' >/dev/null; }

say "building the plugins"
show build

if "$wasmill" status >/dev/null 2>&1; then
  echo "another wasmill answers on the ports of this example: stop it first" >&2
  exit 3
fi
say "starting wasmill with wasmill.toml and an empty store (log: $PWD/$log)"
rm -rf data data.ledger
set -m # a process group of its own: Ctrl-C is for this script, which then stops wasmill once
"$wasmill" run >"$log" 2>&1 &
pid=$!
set +m
until_so ready

say "publishing a week of real earthquakes, and an event that is none"
show topics publish quakes --subject quakes.raw --file earthquakes.ndjson
show topics publish quakes --subject quakes.raw 'M 5.1 somewhere'
until_so caught_up

say "what came out"
show pipelines list
show topics list
show topics tail tsunami --from all --no-follow
show topics tail alerts --from -5 --no-follow
show topics tail california --from -3 --no-follow --payload
show dlq list

if [ -z "${ONCE:-}" ]; then
  cat <<'E2'

== it is running; try in another terminal, in examples/earthquakes, or press Ctrl-C here

  export PATH="$(cd ../../bin && pwd):$PATH"
  wasmill topics tail alerts                                      # what comes from now on
  wasmill topics publish quakes --subject quakes.raw '{"id":"x"}'
  wasmill dlq list                                                # the event was not complete
  wasmill build                                                   # after a change of a plugin: taken at once
  wasmill status
  nats --server nats://127.0.0.1:4222 sub 'alerts.>'              # any NATS client can join in
E2
  wait "$pid" || died
fi
