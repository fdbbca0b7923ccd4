"""`make bench`: runs every benchmark of this folder, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NOT_BENCHMARKS = {"__init__", "__main__", "flow_motions", "stack", "report"}


def main() -> int:
    """Run them all and return how many failed."""
    failed = 0
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem not in NOT_BENCHMARKS:
            print(f"\n== benchmarks/{file.name}", flush=True)
            failed += subprocess.run([sys.executable, "-m", f"benchmarks.{file.stem}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
