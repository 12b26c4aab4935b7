#!/usr/bin/env bash
# Makes sure that `secantusd-rs` is there, the MongoDB of benchmarks that are given none, and prints
# where, as a line for the shell:
#   exports=$(bench/setup.sh) && eval "$exports"
# It is a separate program under a licence of its own (GPL-2.0), built from its source in about six
# minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=tests/setup/common.sh
source tests/setup/common.sh
# shellcheck source=tests/setup/cargo.sh
source tests/setup/cargo.sh

VERSION=0.5.3-beta.193

# Sets `program` to where it is, if it is.
find_program() {
  local place
  program=""
  for place in "${EVERGRANT_BENCH_SECANTUSD:-}" "$(command -v secantusd-rs || true)" \
    "$HOME/.cargo/bin/secantusd-rs" "$HOME/.local/bin/secantusd-rs" "$STATE_DIR/bin/secantusd-rs"; do
    if [[ -n $place && -x $place ]]; then
      program=$place
      return
    fi
  done
}

install_program() {
  need_cargo
  install_packages cmake ninja-build clang libclang-dev
  step "install secantus-mdb $VERSION" cargo install secantus-mdb --version "$VERSION" \
    --ignore-rust-version --root "$STATE_DIR"
}

find_program
if [[ -z $program ]]; then
  install_program
  find_program
fi
[[ -n $program ]] || fail "secantusd-rs was installed and is not there"
printf 'export EVERGRANT_BENCH_SECANTUSD=%q\n' "$program"
