# shellcheck shell=bash
# What every setup script needs: words to the person, a place for state, packages, root.
# Meant to be sourced. Everything said goes to stderr, because some callers print exports on stdout.

# Kept between runs: logs, locks, downloads. Never inside the repository.
STATE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/evergrant-tests"
mkdir -p "$STATE_DIR"

say() { printf '==> %s\n' "$*" >&2; }

# fail WHAT [WHAT-TO-DO]...: the first line names what failed, the others what to do about it.
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  if (($# > 0)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly when we are root, else by sudo.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    fail "this needs root, and there is no sudo: $*" "Run it as root, or install sudo."
  fi
}

# Runs a step and says how long it took; on failure it shows the end of the step's output.
# Output is kept in a file so that steps which run side by side don't mix theirs.
step() {
  local name=$1 log start=$SECONDS
  shift
  log="$STATE_DIR/step-${name//[^a-zA-Z0-9.-]/-}.log"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    fail "$name failed after $((SECONDS - start)) s" "The last lines are above; all of it is in $log"
  fi
  say "$name: $((SECONDS - start)) s"
}

# Waits for background jobs, all of them, and fails if any of them did.
wait_for_all() {
  local pid failed=0
  for pid in "$@"; do wait "$pid" || failed=1; done
  return "$failed"
}

# install_packages PACKAGE...: with apt, one caller at a time (apt's own lock would fail the second).
install_packages() {
  have apt-get || fail "missing packages: $*" "This is not Debian or Ubuntu: install them with your package manager."
  exec {apt_lock}>"$STATE_DIR/apt.lock"
  flock "$apt_lock"
  step "install $*" apt_install "$@"
  exec {apt_lock}>&-
}

# Package lists may be absent (a fresh container) or stale, so a failed first try refreshes them.
apt_install() {
  local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -y)
  "${apt[@]}" install --no-install-recommends "$@" && return
  "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"
}
