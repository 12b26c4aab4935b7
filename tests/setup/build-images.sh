# shellcheck shell=bash
# Builds the images that the tests start from Debian's packages, for machines that cannot pull them.
# Meant to be sourced, after common.sh, with HERE set to this folder.

# Another prefix builds a second set beside the first, which may be in use.
PREFIX="${EVERGRANT_TEST_IMAGE_PREFIX:-evergrant-test}"

# A built image carries the digest of the folder it was built from, so that one of an older recipe is
# not taken for a new one.
RECIPE_LABEL=evergrant.recipe
recipe() { # folder
  (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}
recipe_of() { # image
  case $1 in
    */rabbitmq:*) recipe "$HERE/images/rabbitmq" ;;
    */mongodb:*) recipe "$HERE/images/mongodb" ;;
    *) echo base ;;
  esac
}

is_built() {
  local label
  label=$(docker image inspect --format "{{index .Config.Labels \"$RECIPE_LABEL\"}}" "$1" 2>/dev/null) || return
  [[ $label == "$(recipe_of "$1")" ]]
}

build_base() { # suite, image
  have mmdebstrap || install_packages mmdebstrap debian-archive-keyring
  step "build $2" import_base "$@"
}
# Through a file: an import from a pipe would also tag what a failing bootstrap left unfinished.
import_base() {
  local tar="$STATE_DIR/$1.tar"
  # A step is a condition, in which bash goes on after a failure: hence the chain.
  as_root mmdebstrap --variant=minbase --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$1" "$tar" &&
    docker import --change 'CMD ["bash"]' --change "LABEL $RECIPE_LABEL=$(recipe_of "$2")" "$tar" "$2" &&
    as_root rm -f "$tar"
}

build_image() { # base, image, context
  step "build $2" docker build --build-arg BASE_IMAGE="$1" \
    --label "$RECIPE_LABEL=$(recipe_of "$2")" -t "$2" "$3"
}

MONGODB_CONTEXT="$STATE_DIR/mongodb-context"
# Python packages come to the build as files: pip inside a build does not know the machine's
# certificates and proxies. The version is that of the Python in Debian 12.
download_mongodb() {
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3 python3-pip
  rm -rf "$MONGODB_CONTEXT"
  cp -r "$HERE/images/mongodb" "$MONGODB_CONTEXT"
  step "download SecantusDB" python3 -m pip install --disable-pip-version-check --no-deps \
    --only-binary=:all: --python-version 3.11 --require-hashes \
    -r "$MONGODB_CONTEXT/requirements.txt" --target "$MONGODB_CONTEXT/packages"
}
# The Debian that an image is, or is built on.
suite_of() { # image
  case $1 in
    */debian:trixie | */rabbitmq:4.0) echo trixie ;;
    *) echo bookworm ;;
  esac
}

# Two rounds, each side by side: what the images are made from, then the images.
build() { # image...
  local image suite base jobs=() what_to_do
  what_to_do="Or pull the official ones where there is a registry, or name others in the variables EVERGRANT_TEST_*_IMAGE."
  for suite in $(for image in "$@"; do suite_of "$image"; done | sort -u); do
    is_built "$PREFIX/debian:$suite" || { build_base "$suite" "$PREFIX/debian:$suite" & jobs+=($!); }
  done
  for image in "$@"; do
    if [[ $image == */mongodb:* ]]; then download_mongodb & jobs+=($!); fi
  done
  wait_for_all "${jobs[@]}" || fail "could not prepare the images that the tests start" "$what_to_do"

  jobs=()
  for image in "$@"; do
    base=$PREFIX/debian:$(suite_of "$image")
    case $image in
      */rabbitmq:*) build_image "$base" "$image" "$HERE/images/rabbitmq" & jobs+=($!) ;;
      */mongodb:*) build_image "$base" "$image" "$MONGODB_CONTEXT" & jobs+=($!) ;;
    esac
  done
  wait_for_all "${jobs[@]}" || fail "could not build the images that the tests start" "$what_to_do"
  rm -rf "$MONGODB_CONTEXT"
}
