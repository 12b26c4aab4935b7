#!/bin/sh
# Nodes of one cluster, and the command line tools, share the cookie. It must exist before the first of
# them starts, readable by its owner only, or Erlang refuses it.
set -eu
cookie="$HOME/.erlang.cookie"
if [ -n "${RABBITMQ_ERLANG_COOKIE:-}" ] && [ ! -e "$cookie" ]; then
  (umask 077 && printf '%s' "$RABBITMQ_ERLANG_COOKIE" >"$cookie")
  chmod 400 "$cookie"
fi
exec "$@"
