# SPDX-License-Identifier: Apache-2.0
"""Every capture of the folder that SHADOW_CAPTURES names, against that folder's ground truth.

The captures come from other projects and are not part of this one, so without the variable there is
nothing to test."""

import os
import pathlib

import corpus
import pytest

FOLDER = os.environ.get("SHADOW_CAPTURES", "")
if not FOLDER or not (pathlib.Path(FOLDER) / "manifest.json").is_file():
    pytest.skip(
        "SHADOW_CAPTURES does not name a folder with a manifest.json", allow_module_level=True
    )
ENTRIES = {e["file"]: e for e in corpus.load(FOLDER)}


@pytest.mark.parametrize("file", ENTRIES)
def test_file_is_as_the_manifest_says(file, tmp_path):
    out = corpus.run_case(FOLDER, ENTRIES[file], tmp_path)
    if out.problems:
        pytest.fail("\n".join(corpus.report(out, verbose=False)), pytrace=False)
