"""Check that other people's type checkers understand our public surface completely, with basedpyright's report.

The report counts every module without an underscore as public. Ours is smaller: what users import. A name is judged with
everything that its type is made of, so the rest is covered as far as it shows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PUBLIC_MODULES = {
    "polysite",
    "polysite.api",
    "polysite.client",
    "polysite.clock",
    "polysite.errors",
    "polysite.sync",
    "polysite.testing",
    "polysite.values.tables",
    "polysite.values.types",
}


def main() -> int:
    """Print each public name whose type is not completely known, and why; 1 if there is any."""
    # The check runs the `python` of PATH to find the package, whatever else it is told.
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command: list[str | Path] = [BIN / "basedpyright", "--verifytypes", "polysite", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    symbols = report["typeCompleteness"]["symbols"]
    if not symbols:
        print(done.stdout)
        return 1
    modules = {module["name"] for module in report["typeCompleteness"]["modules"]}
    unknown = [symbol for symbol in symbols if not symbol["isTypeKnown"] and is_public(symbol["name"], modules)]
    for symbol in unknown:
        print(symbol["name"])
    if unknown:
        print("\nwhere it comes from:")
        print("\n".join(sorted(causes(unknown))))
    return 1 if unknown else 0


def is_public(name: str, modules: set[str]) -> bool:
    """Whether the innermost module that `name` lies in is one that users import."""
    parts = name.split(".")
    inside = [".".join(parts[:count]) for count in range(1, len(parts)) if ".".join(parts[:count]) in modules]
    return bool(inside) and inside[-1] in PUBLIC_MODULES


def causes(symbols: list[dict[str, Any]]) -> set[str]:
    """The findings that do not merely point at another one, each as `file:line name: what`."""
    return {
        f"  {Path(found['file']).relative_to(ROOT)}:{found['range']['start']['line'] + 1} {symbol['name']}: {found['message']}"
        for symbol in symbols
        for found in symbol["diagnostics"]
        if found["severity"] == "error" and "partially unknown" not in found["message"]
    }


if __name__ == "__main__":
    sys.exit(main())
