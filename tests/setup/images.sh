#!/usr/bin/env bash
# Makes sure that the images the tests start are there, and prints where, as lines for the shell:
#   exports=$(tests/setup/images.sh) && eval "$exports"
# For each image, the first of these that works: the one its variable names, the official one if it is
# here, the one built here before, the official one pulled, one built here from Debian's packages.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/setup/common.sh
source "$HERE/common.sh"
# shellcheck source=tests/setup/build-images.sh
source "$HERE/build-images.sh"

# A registry that cannot be reached may swallow packets instead of refusing.
REGISTRY_PROBE_S=8
PULL_TIMEOUT_S=600

# Programs built on this machine run on the base image, whose C library must not be older than this
# machine's: Debian 12 where that will do, else Debian 13.
base_suite() {
  local libc
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc="glibc 2.36"
  if [[ $(printf '%s\n' "${libc#glibc }" 2.36 | sort -V | tail -n 1) == 2.36 ]]; then
    echo bookworm
  else
    echo trixie
  fi
}
SUITE=$(base_suite)

# variable, official image, image built here
IMAGES=(
  "EVERGRANT_TEST_BASE_IMAGE debian:$SUITE-slim $PREFIX/debian:$SUITE"
  "EVERGRANT_TEST_RABBITMQ_3_IMAGE rabbitmq:3.10-management $PREFIX/rabbitmq:3.10"
  "EVERGRANT_TEST_RABBITMQ_4_IMAGE rabbitmq:4.0-management $PREFIX/rabbitmq:4.0"
  "EVERGRANT_TEST_MONGODB_IMAGE mongo:7.0 $PREFIX/mongodb:secantus"
)

is_here() { docker image inspect "$1" >/dev/null 2>&1; }

registry_answers() {
  timeout "$REGISTRY_PROBE_S" docker manifest inspect debian:bookworm-slim >/dev/null 2>&1
}

# Sets `found` to the image to use for a row of the table, if one is here.
find_image() { # variable, official, built
  found=""
  local named="${!1:-}"
  # A name that an earlier run exported is no choice of the person's.
  if [[ -n $named && $named != "$2" && $named != "$3" ]]; then
    is_here "$named" || step "pull $named" docker pull "$named"
    found=$named
  elif is_here "$2"; then
    found=$2
  elif is_built "$3"; then
    found=$3
  fi
}

# Pulls official images side by side, and sets `not_pulled` to those that could not be (a registry may
# limit how many are pulled).
pull() { # image...
  local image
  local -A pulls=()
  not_pulled=()
  for image in "$@"; do
    step "pull $image" timeout "$PULL_TIMEOUT_S" docker pull "$image" & pulls[$image]=$!
  done
  for image in "$@"; do
    wait "${pulls[$image]}" || not_pulled+=("$image")
  done
}

registry_is_worth_a_try() {
  registry_answers && return
  say "No image registry answers: building images from Debian's packages."
  return 1
}

main() {
  local row variable official built not_pulled missing=() to_build=()
  local -A chosen=() built_instead_of=()
  for row in "${IMAGES[@]}"; do
    read -r variable official built <<<"$row"
    find_image "$variable" "$official" "$built"
    chosen[$variable]=${found:-$official}
    if [[ -z $found ]]; then
      missing+=("$official")
      built_instead_of[$official]=$built
    fi
  done
  if ((${#missing[@]} > 0)); then
    not_pulled=("${missing[@]}")
    if registry_is_worth_a_try; then pull "${missing[@]}"; fi
    for official in "${not_pulled[@]}"; do to_build+=("${built_instead_of[$official]}"); done
  fi
  if ((${#to_build[@]} > 0)); then build "${to_build[@]}"; fi
  for row in "${IMAGES[@]}"; do
    read -r variable official built <<<"$row"
    if [[ " ${to_build[*]} " == *" $built "* ]]; then chosen[$variable]=$built; fi
    printf 'export %s=%q\n' "$variable" "${chosen[$variable]}"
  done
}

main
