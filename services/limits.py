"""What a file from somewhere may ask of this machine, unless a setting or an option says otherwise."""

from __future__ import annotations

MAX_FRAME_MEGAPIXELS = 36.0
"""Of a frame that is decoded: 8K video has 33 to 35."""
MAX_DECODE_GIGABYTES = 2.0
"""Of the frames, or flow fields, of one clip that are held at once."""
MAX_ARCHIVE_GIGABYTES = 100.0
"""Of what an archive holds, and of the archive; UCF101's is 7 GB, and holds as much."""
MAX_ARCHIVE_FILES = 200_000
"""Files and folders that an archive holds; UCF101's has 13,421."""
