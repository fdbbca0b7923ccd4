"""Does memory stay flat over 10,000 opens of a clip?  Usage: ``python -m benchmarks.opens [CLIP]``."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from worker.video.decoding.decode import FrameReader

CLIP = Path(__file__).parents[2] / "shared/data/clips/UCF-101/YoYo/v_YoYo_g01_c02.avi"
OPENS, EVERY = 10_000, 500
LIMIT_MIB = 4  # FFmpeg keeps some 150 bytes of each opening, 1.4 MiB in all


def main(arguments: list[str]) -> int:
    """Print the peak of resident memory every 500 opens; fail if it grows by more than 4 MiB after the first 500."""
    clip = Path(arguments[0]) if arguments else CLIP
    peaks = []
    for number in range(1, OPENS + 1):
        FrameReader().read(clip, [0, 3], paired=bool(number % 2))
        if number % EVERY == 0:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(f"{number} opens: peak {peaks[-1]:.1f} MiB", flush=True)
    return int(peaks[-1] - peaks[0] > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
