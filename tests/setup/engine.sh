#!/usr/bin/env bash
# Makes sure that a Docker engine answers, and that Docker Compose is here. An engine that does is left
# alone; otherwise, on Debian and Ubuntu, it is installed and started. Running this again does nothing.
set -euo pipefail
# shellcheck source=tests/setup/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LOG="$STATE_DIR/dockerd.log"
START_TIMEOUT_S=60

engine_answers() { have docker && docker info >/dev/null 2>&1; }

# A person's own engine that is merely out of reach must not be answered by installing another.
refuse_if_unreachable_by_choice() {
  if [[ -n "${DOCKER_HOST:-}" ]]; then
    fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST" \
      "Start that engine, or unset DOCKER_HOST to use one on this machine."
  fi
  if have docker && docker info 2>&1 | grep -qi 'permission denied'; then
    fail "a Docker engine runs, but $(id -un) may not talk to it" \
      "Run: sudo usermod -aG docker $(id -un)   then sign in again."
  fi
}

install_engine() {
  local missing=()
  have docker && have dockerd || missing+=(docker.io)
  # Without it dockerd cannot make the bridge network. Only recommended by the package.
  [[ -x /usr/sbin/iptables ]] || missing+=(iptables)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# Process ids left by an engine that was killed, or by another boot of a machine whose /run is kept,
# may now belong to something else, and dockerd would then refuse to start.
remove_stale_pid_files() {
  local file pid
  for file in /run/docker.pid /run/docker/containerd/containerd.pid; do
    [[ -f $file ]] || continue
    pid=$(<"$file")
    grep -qE '^(dockerd|containerd)$' "/proc/$pid/comm" 2>/dev/null || as_root rm -f "$file"
  done
}

compose_is_here() { docker compose version >/dev/null 2>&1 || have docker-compose; }

# The daemon outlives us: its own session, and no descriptor of ours, or a CI that waits for the end
# of our output would wait for the daemon's end.
start_in_background() {
  # The limit on open files that containers get: RabbitMQ sizes tables by it, and with the 10^9 of some
  # machines they take gigabytes. A sandbox may not let us raise its own.
  local files=65536 hard fd
  hard=$(ulimit -Hn)
  if [[ $hard != unlimited ]] && ((hard < files)); then files=$hard; fi
  (
    for fd in /proc/"$BASHPID"/fd/*; do
      fd=${fd##*/}
      # 255 is where bash reads this script from.
      if ((fd > 2 && fd != 255)); then exec {fd}>&-; fi
    done
    # The socket belongs to our own group, so that a user without root can talk to it at once.
    as_root setsid nohup dockerd --group "$(id -gn)" --default-ulimit "nofile=$files:$files" \
      </dev/null >"$LOG" 2>&1 255>&- &
  )
}

start_engine() {
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl start docker ||
      fail "systemd could not start the Docker engine" "See: journalctl -u docker"
    return
  fi
  remove_stale_pid_files
  start_in_background
}

wait_for_engine() {
  local deadline=$((SECONDS + START_TIMEOUT_S))
  until engine_answers; do
    if ((SECONDS >= deadline)); then
      tail -n 20 "$LOG" >&2 2>/dev/null || true
      refuse_if_unreachable_by_choice
      fail "the Docker engine did not answer within $START_TIMEOUT_S s" \
        "Its log is $LOG (with systemd: journalctl -u docker)." \
        "In a container or sandbox the engine needs root, cgroups and iptables."
    fi
    sleep 0.3
  done
}

if ! engine_answers; then
  exec {engine_lock}>"$STATE_DIR/engine.lock"
  flock "$engine_lock"
  # Another caller may have started it while we waited for the lock.
  if ! engine_answers; then
    refuse_if_unreachable_by_choice
    install_engine
    start_engine
    wait_for_engine
    say "Docker engine $(docker version --format '{{.Server.Version}}') started in $SECONDS s"
  fi
fi
compose_is_here || install_packages docker-compose
