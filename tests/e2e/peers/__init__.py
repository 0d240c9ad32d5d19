# SPDX-License-Identifier: Apache-2.0
"""Other people's programs that read what we write: those of package.json, under node. Installed
once, by its lock, into a cache that all runs share and never into the repository; where npm or the
registry is missing, the tests that need them are skipped and say why."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from harness import DEADLINE, environment

HERE = pathlib.Path(__file__).resolve().parent
NPM = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
NPM += ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
NPM += ["--loglevel=error"]
INSTALL_DEADLINE = 300


def cache_folder():
    """SHADOW_PEERS names another one."""
    if os.environ.get("SHADOW_PEERS"):
        return pathlib.Path(os.environ["SHADOW_PEERS"])
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return home / "shadow-ctl-tests"


def installed():
    """The folder of the packages. It appears whole or not at all: another run may want it too."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = cache_folder() / f"peers-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, made)
        try:
            p = subprocess.run(NPM, cwd=made, capture_output=True, text=True, check=False,
                               stdin=subprocess.DEVNULL, timeout=INSTALL_DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not install its packages within {INSTALL_DEADLINE} s")
        if p.returncode:
            pytest.skip(f"npm could not install its packages: {' '.join(p.stderr.split())[:100]}")
        whole = pathlib.Path(made) / "whole"
        whole.mkdir()
        (pathlib.Path(made) / "node_modules").rename(whole / "node_modules")
        with contextlib.suppress(OSError):  # another run was quicker
            whole.rename(folder)
    return folder


class Peers:
    def __init__(self, folder):
        self.folder = folder

    def node(self, script, *args, given=None, cwd=None):
        """Runs a script of this folder: JSON in, JSON out."""
        env = environment(NODE_PATH=str(self.folder / "node_modules"))
        p = subprocess.run(["node", HERE / script, *map(str, args)], capture_output=True, env=env,
                           input=json.dumps(given).encode(), timeout=2 * DEADLINE, check=False,
                           cwd=cwd)
        assert p.returncode == 0, p.stderr.decode(errors="replace")[-4000:]
        return json.loads(p.stdout)

    def duckdb(self, *statements, cwd=None):
        """The rows of each statement, as tuples."""
        answers = self.node("duckdb.js", given=statements, cwd=cwd)
        return [list(map(tuple, rows)) for rows in answers]
