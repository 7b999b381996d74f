"""Everything `make check` looks at, each step named, all of them run even if one fails.

python scripts/check.py            all steps
python scripts/check.py docs lint  only these
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FOLDERS = [name for name in ("src", "tests", "scripts", "benchmarks", "examples") if (ROOT / name).is_dir()]
PYTHON = sys.executable
BIN = Path(PYTHON).parent

STEPS: dict[str, list[str | Path]] = {
    "format": [BIN / "ruff", "format", "--check", "--quiet", "--output-format", "concise", "."],
    "lint": [BIN / "ruff", "check", "--quiet", "--output-format", "concise", "."],
    "types": [BIN / "mypy", "--no-error-summary", *PYTHON_FOLDERS],
    "public types": [PYTHON, "scripts/check_public_types.py"],
    "imports": [BIN / "lint-imports", "--no-logo"],
    "generated": [PYTHON, "scripts/generate_sync.py", "--check"],
    "reference": [PYTHON, "scripts/generate_reference.py", "--check"],
    "docs": [PYTHON, "scripts/check_docs.py"],
}


def main(wanted: list[str]) -> int:
    """Run the wanted steps; 0 if all hold."""
    unknown = set(wanted) - set(STEPS)
    if unknown:
        print(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    failed = []
    for name, command in STEPS.items():
        if wanted and name not in wanted:
            continue
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(f"{'ok    ' if done.returncode == 0 else 'FAILED'}  {name}", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(done.stdout, flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all checks hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
