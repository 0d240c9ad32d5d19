# SPDX-License-Identifier: Apache-2.0
"""Writes the project's own captures and their ground truth into a folder.

    generate.py DIR [--filter SUBSTR]

The same files byte for byte each time. The manifest has the form that tests/e2e/corpus.py reads."""

import argparse
import json
import pathlib
import sys

import cases_http
import cases_link
import cases_negative
import cases_random
import cases_rules
import cases_tcp
from registry import CASES

MODULES = (cases_link, cases_tcp, cases_http, cases_negative, cases_rules,
           cases_random)


def generate(folder, substring=""):
    """Returns the manifest's entries."""
    folder = pathlib.Path(folder)
    entries = []
    for name, case in CASES.items():
        if substring not in name:
            continue
        cap = case.capture()
        entry = {
            "name": name,
            "file": name + ".pcap",
            "what_it_tests": case.words,
            "classes": [name.split("/")[0]],
            "policy": list(case.policy),
            "expected": cap.expected(),
        }
        if cap.options is not None:
            entry["options"] = cap.options
        if cap.exit is not None:
            entry["exit"] = cap.exit
        path = folder / entry["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cap.bytes())
        entries.append(entry)
    with open(folder / "manifest.json", "w", encoding="utf-8") as f:
        json.dump({"files": entries}, f, indent=1)
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--filter", default="")
    args = parser.parse_args()
    entries = generate(args.folder, args.filter)
    print(f"{len(entries)} captures, {sum(e['expected']['requests'] for e in entries)} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
