# SPDX-License-Identifier: Apache-2.0
"""The repository keeps its own promises: the documents name what is there, the layers hold, and
the scripts are sound."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from harness import ROOT, binary, run

LIBRARIES = ["core", "capture", "store", "replay"]
MAY_INCLUDE = {
    "core": {"core"},
    "capture": {"core", "capture"},
    "store": {"core", "store"},
    "replay": {"core", "replay"},
    "cli": {"core", "capture", "store", "replay"},
}
KINDS = {".c", ".h", ".py", ".cmake", ".txt"}
SOURCES = [
    p
    for folder in (*MAY_INCLUDE, "tests", "bench", "scripts", "cmake")
    for p in sorted((ROOT / folder).rglob("*"))
    if p.is_file() and "__pycache__" not in p.parts
    if p.suffix in KINDS or (folder == "scripts" and not p.suffix)
]


def compile_commands():
    for folder in binary().parents:
        if (folder / "compile_commands.json").is_file():
            return json.loads((folder / "compile_commands.json").read_text())
    pytest.skip("the program was built without compile_commands.json")


def flags_of(layer):
    """What the compiler is given for a source of that folder; of the program, for its main."""
    for entry in compile_commands():
        path = pathlib.Path(entry["file"]).resolve()
        if path.parent == ROOT / layer and (layer != "cli" or path.name == "main.c"):
            words = shlex.split(entry["command"])
            keep = ("-D", "-isystem", "-I", "-std", "/")
            return words[0], [w for w in words[1:] if w.startswith(keep) and not w.endswith(".c")]
    pytest.skip(f"nothing of {layer}/ was built here")


def public_header(library):
    return sorted((ROOT / library / "include" / library).glob("*.h"))[0].name


@pytest.mark.parametrize("layer", MAY_INCLUDE)
def test_layers_hold(layer, tmp_path):
    """core <- {capture, store, replay} <- cli: an include across them does not compile."""
    compiler, flags = flags_of(layer)
    for library in LIBRARIES:
        snippet = tmp_path / "snippet.c"
        snippet.write_text(f'#include "{library}/{public_header(library)}"\nextern int x;\n')
        command = [compiler, *flags, "-fsyntax-only", snippet]
        p = subprocess.run(command, capture_output=True, text=True, check=False)
        allowed = library in MAY_INCLUDE[layer]
        assert (p.returncode == 0) == allowed, f"{layer} includes {library}: {p.stderr}"


@pytest.mark.parametrize("header", sorted((ROOT).glob("*/include/*/*.h")), ids=lambda p: p.name)
def test_headers_stand_alone(header, tmp_path):
    compiler, flags = flags_of("cli")
    snippet = tmp_path / "snippet.c"
    snippet.write_text(f'#include "{header.parent.name}/{header.name}"\nextern int x;\n')
    subprocess.run([compiler, *flags, "-fsyntax-only", snippet], check=True)


def test_architecture_names_what_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w./-]+/)`", text))
    assert {f"{folder}/" for folder in MAY_INCLUDE} <= named
    missing = [name for name in named if not (ROOT / name).is_dir()]
    assert not missing
    files = set(re.findall(r"`([\w-]+(?:/[\w.-]+)*\.(?:c|h|md|txt|json|py))`", text))
    assert not [name for name in files if not (ROOT / name).is_file()]


def test_readme_is_true():
    """Every option that the README shows is one, and every command has its line."""
    text = (ROOT / "README.md").read_text()
    known = set()
    for command in ("capture", "replay", "mirror", "convert", "explain", "query", "info", "store"):
        assert f"`{command}" in text
        known |= set(re.findall(r"--[a-z][a-z-]+", run(command, "--help").out))
    shown = re.findall(r"shadow-ctl [^\n`]*", text)
    used = {option for line in shown for option in re.findall(r"--[a-z][a-z-]+", line)}
    assert used <= known


def test_sources_say_their_licence():
    for path in SOURCES:
        first = path.read_text(errors="replace").splitlines()[:2]
        assert any("SPDX-License-Identifier: Apache-2.0" in line for line in first), path


def test_sources_are_of_readable_size():
    for path in SOURCES:
        assert len(path.read_text(errors="replace").splitlines()) < 900, path


BANNED = re.compile(r"\b(strcpy|sprintf|atoi|strtok|gmtime|localtime|alloca)\s*\(")


def test_banned_functions():
    for path in SOURCES:
        if path.suffix in {".c", ".h"}:
            found = BANNED.search(path.read_text())
            assert not found, f"{path}: {found.group()}"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_scripts_are_sound():
    scripts = [p for p in (ROOT / "scripts").iterdir() if p.is_file()]
    scripts = [p for p in [*scripts, ROOT / ".ci/run"] if b"bash" in p.read_bytes()[:40]]
    assert scripts and all(os.access(p, os.X_OK) for p in scripts)
    subprocess.run(["shellcheck", *scripts], check=True)
