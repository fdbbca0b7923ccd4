from __future__ import annotations

import pytest

from services.datasets.sources import source_of


@pytest.mark.parametrize(
    ("clip", "source"),
    [
        ("YoYo/v_YoYo_g01_c04", "YoYo/1"),
        ("Punch/v_Punch_g01_c04", "Punch/1"),
        ("brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0", "April_09"),
        ("wave/April_09_wave_u_nm_np1_ba_goo_0", "April_09"),
        ("clap/boom_snap_clap_(challenge)_clap_u_nm_np1_fr_med_0", "boom_snap_clap_(challenge)"),
        ("own/holiday", None),
        ("wave/my_wave_1", None),
    ],
)
def test_clips_of_one_source(clip: str, source: str | None) -> None:
    assert source_of(clip) == source
