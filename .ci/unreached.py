"""Fails where a source file belongs to no crate: no `mod` reaches it, so nobody compiles it and its tests are lost."""

import json
import re
import subprocess
import sys
from pathlib import Path

MODULE = re.compile(r'^\s*(?:#\[path = "(?P<path>[^"]+)"\]\s*)?(?:pub(?:\([^)]*\))?\s+)?mod\s+(?P<name>\w+);', re.MULTILINE)


def reached_from(file):
    """The file, and every file that its `mod` lines reach."""
    yield file
    inside = file.parent if file.name in ("main.rs", "lib.rs", "mod.rs") or file in roots else file.with_suffix("")
    for module in MODULE.finditer(file.read_text()):
        named = [file.parent / module["path"]] if module["path"] else [
            inside / f"{module['name']}.rs", inside / module["name"] / "mod.rs"]
        for candidate in named:
            if candidate.is_file():
                yield from reached_from(candidate.resolve())


command = ["cargo", "metadata", "--locked", "--format-version", "1", "--no-deps"]
packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
roots = {Path(target["src_path"]).resolve() for package in packages for target in package["targets"]}
reached = {file for root in roots for file in reached_from(root)}
listed = subprocess.run(["git", "ls-files", "*.rs"], check=True, capture_output=True, text=True).stdout.split()
unreached = [file for file in listed if Path(file).resolve() not in reached]
print(f"{len(listed)} source files, {len(unreached)} that no crate reaches")
for file in unreached:
    print(f"  {file}: add a `mod` line for it, or remove it")
sys.exit(1 if unreached else 0)
