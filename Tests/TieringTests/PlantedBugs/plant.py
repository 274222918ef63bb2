#!/usr/bin/env python3
"""plant.py (check | plant) FILE...: plants bugs in the sources below ./Sources, or checks that they can be planted.

Each file holds a bug: its name, then file, text and replacement as often as needed, each ended by a zero byte. The source
file must hold the text once; a run of white space counts as one blank. Names those that do not fit, and fails then.
"""
import re
import sys


def plant(fields):
    """The sources that the bug changes, and what keeps it from being planted."""
    sources, problems = {}, []
    for path, text, replacement in zip(fields[1::3], fields[2::3], fields[3::3]):
        pattern = r"\s+".join(re.escape(word) for word in text.split())
        try:
            source = sources.get(path) or open(f"Sources/{path}").read()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
            continue
        sources[path], count = re.subn(pattern, lambda _: replacement, source)
        if count != 1:
            problems.append(f"{path}: {count} places hold {text!r}")
    if len(fields) % 3 != 1 or len(fields) < 4:
        problems.append(f"{len(fields)} arguments, expected a name and three for each change")
    return sources, problems


mode, files = sys.argv[1], sys.argv[2:]
have_problems = False
for file in files:
    fields = open(file).read().split("\0")[:-1]
    sources, problems = plant(fields)
    for problem in problems:
        have_problems = True
        print(f"{fields[0]}: cannot be planted: {problem}")
    if mode == "plant" and not problems:
        for path, source in sources.items():
            open(f"Sources/{path}", "w").write(source)
sys.exit(have_problems)
