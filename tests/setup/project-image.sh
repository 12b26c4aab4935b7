#!/usr/bin/env bash
# Builds the project's image from programs that are already built, and prints its name as a line for
# the shell. Usage: tests/setup/project-image.sh FOLDER-OF-PROGRAMS [IMAGE]
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/setup/common.sh
source "$HERE/common.sh"

PROGRAMS=(evergrant evergrant-producer evergrant-worker evergrant-gateway evergrant-simulator)
FOLDER=${1:?usage: project-image.sh FOLDER-OF-PROGRAMS [IMAGE]}
IMAGE=${2:-evergrant-test/evergrant:local}
BASE=${EVERGRANT_TEST_BASE_IMAGE:?is not set: evaluate the output of tests/setup/images.sh first}

# Debug information would make the image a hundred times larger, and every test would wait for it.
copy_programs() { # context
  local program
  for program in "${PROGRAMS[@]}"; do
    [[ -x "$FOLDER/$program" ]] ||
      fail "$FOLDER/$program is not there" "Build the programs first: cargo build --workspace --bins"
    strip --strip-debug -o "$1/$program" "$FOLDER/$program"
  done
}

have strip || install_packages binutils
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
copy_programs "$context"
image_id() { docker image inspect --format '{{.Id}}' "$IMAGE" 2>/dev/null || true; }
before=$(image_id)
step "build $IMAGE" docker build --target prebuilt --build-arg BASE_IMAGE="$BASE" \
  -f "$HERE/../../Dockerfile" -t "$IMAGE" "$context"

# A program built against a newer C library than the base has would only fail later, in some container.
docker run --rm --network none "$IMAGE" evergrant --version >/dev/null ||
  fail "the programs in $FOLDER don't run on $BASE" \
    "If its C library is older than this machine's, name another base in EVERGRANT_TEST_BASE_IMAGE."
# Every change of a program would leave an image without a name behind. One in use stays.
if [[ -n $before && $before != "$(image_id)" ]]; then docker image rm "$before" >/dev/null 2>&1 || true; fi
printf 'export EVERGRANT_TEST_IMAGE=%q\n' "$IMAGE"
