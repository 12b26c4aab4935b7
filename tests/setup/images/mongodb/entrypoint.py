"""Starts the server with what the environment asks for; arguments are passed on to it.

SECANTUS_SYNC=1             fsync on every commit, so that `j: true` is honoured (slower)
MONGO_INITDB_ROOT_USERNAME  with _PASSWORD: make this user at the first start and require
MONGO_INITDB_ROOT_PASSWORD  authentication from then on, as the official image does
EVERGRANT_MONGODB_PASSWORD  with _DATABASE: make the user as deploy/mongodb-user.js does, which the
EVERGRANT_MONGODB_DATABASE  official image runs
"""

import os
import subprocess
import sys
import time

import pymongo

DATA = "/data/db"
USER_MADE = DATA + "/.first-user-made"
# `--standalone`: else it says it is a replica set at an address that is only true inside the container,
# and drivers would follow it there.
SERVER = [sys.executable, "-m", "secantus", "--storage-path", DATA, "--standalone"]
FIRST_START_TIMEOUT_S = 30


def make_users(username, password):
    """The server can only make its first user while it asks for none, so do it where no one can connect."""
    server = subprocess.Popen(SERVER + ["--host", "127.0.0.1", "--port", "27999"])
    try:
        client = pymongo.MongoClient(
            "127.0.0.1", 27999, serverSelectionTimeoutMS=FIRST_START_TIMEOUT_S * 1000
        )
        client.admin.command("createUser", username, pwd=password, roles=["root"])
        own = os.environ.get("EVERGRANT_MONGODB_PASSWORD")
        if own:
            role = {"role": "readWrite", "db": os.environ["EVERGRANT_MONGODB_DATABASE"]}
            client.admin.command("createUser", "evergrant", pwd=own, roles=[role])
    finally:
        server.terminate()
        server.wait()
    open(USER_MADE, "w").close()


def main():
    command = SERVER + ["--host", "0.0.0.0", "--port", "27017"]
    if os.environ.get("SECANTUS_SYNC") == "1":
        command.append("--sync-on-commit")
    username = os.environ.get("MONGO_INITDB_ROOT_USERNAME")
    password = os.environ.pop("MONGO_INITDB_ROOT_PASSWORD", None)
    if username and password:
        if not os.path.exists(USER_MADE):
            make_users(username, password)
        command.append("--auth")
    # exec: the server becomes the container's process and gets its signals.
    os.execv(command[0], command + sys.argv[1:])


main()
