# shellcheck shell=bash
# Cargo as the tests and CI call it. Meant to be sourced, after common.sh.

# Rust itself is the one thing that a person brings.
need_cargo() {
  # Where rustup puts it; a shell that was open before, and CI, don't have it on their PATH.
  have cargo || PATH="$HOME/.cargo/bin:$PATH"
  have cargo || fail "cargo was not found" "Install Rust (https://rustup.rs), then run this again."
  # Rust links by cc, and the TLS library has parts in C.
  have cc || install_packages gcc libc6-dev
}

# Builds link with mold where there is one, many times faster. It goes in between by itself: flags or a
# .cargo/config.toml would break those who don't have it, and would make every crate be built anew.
build_with_cargo() {
  if have mold; then mold -run cargo "$@"; else cargo "$@"; fi
}

target_directory() {
  cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
