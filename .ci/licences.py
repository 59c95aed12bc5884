"""Fails where a dependency's licence is not one of those we accept."""

import json
import subprocess
import sys

ACCEPTED = {
    "MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MPL-2.0", "OpenSSL", "PostgreSQL", "Unicode-3.0", "Unlicense", "Zlib", "0BSD",
}


def accepted(expression):
    """An SPDX expression: one side of an OR is enough, every side of an AND is needed."""
    expression = expression.replace("/", " OR ").strip()
    while expression.startswith("(") and expression.endswith(")") and expression.count("(") == 1:
        expression = expression[1:-1]
    parts = split(expression, " AND ")
    if len(parts) > 1:
        return all(accepted(part) for part in parts)
    parts = split(expression, " OR ")
    if len(parts) > 1:
        return any(accepted(part) for part in parts)
    return expression.strip() in ACCEPTED


def split(expression, operator):
    """Splits at the operator outside of parentheses."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(expression):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and expression.startswith(operator, position):
            parts.append(expression[start:position])
            start = position + len(operator)
    return parts + [expression[start:]]


command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
refused = [f"{p['name']} {p['version']}: {p['license']}" for p in packages if not accepted(p["license"] or "none given")]
print(f"{len(packages)} packages, {len(refused)} with a licence we do not accept")
for line in refused:
    print(f"  {line}")
sys.exit(1 if refused else 0)
