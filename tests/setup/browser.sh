#!/usr/bin/env bash
# Chromium and its driver, for the tests of the web console: installed where they are missing.
set -euo pipefail
# shellcheck source=tests/setup/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

missing=()
have chromium || missing+=(chromium)
have chromedriver || missing+=(chromium-driver)
((${#missing[@]} == 0)) || install_packages "${missing[@]}"
