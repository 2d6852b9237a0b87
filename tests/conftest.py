"""Tests keep their features, graphs and lists of checked files to themselves, and tell no one that they ran."""

import atexit
import os
import shutil
import tempfile

os.environ["HEADSTART_CACHE"] = tempfile.mkdtemp(prefix="headstart-tests-")
os.environ["XDG_CONFIG_HOME"] = os.environ["HEADSTART_CACHE"]  # no list of a developer's own
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
atexit.register(shutil.rmtree, os.environ["HEADSTART_CACHE"], ignore_errors=True)
