from pathlib import Path

import pytest

from services.datasets.annotations import Annotations, Line, ListedClip, Split
from services.datasets.layouts import LAYOUTS, read_annotations
from services.datasets.official import CATEGORIES, OFFICIAL, categories_of, deviations, shared_groups
from services.datasets.ucf101 import group_of

LISTS = Path(__file__).parents[4] / "shared/data/annotations"
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"no official lists at {LISTS}")


@pytest.mark.data
@needs_lists
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_official_lists_are_the_official_ones(layout) -> None:
    annotations = read_annotations(layout, LISTS / layout)
    assert deviations(annotations, OFFICIAL[layout]) == ()
    groups = {clip.path: group_of(clip.path) for clip in annotations.clips()}
    assert shared_groups(annotations, groups) == ()
    assert (None in groups.values()) == (layout == "hmdb51")


@pytest.mark.data
@needs_lists
def test_groups_and_categories_of_ucf101() -> None:
    annotations = read_annotations("ucf101", LISTS / "ucf101")
    tested = {n: {group_of(clip.path) for clip in split.test} for n, split in annotations.splits.items()}
    assert tested == {1: set(range(1, 8)), 2: set(range(8, 15)), 3: set(range(15, 22))}
    categories = categories_of(annotations.classes)
    assert categories is not None
    assert [categories.count(name) for name in CATEGORIES] == [20, 16, 5, 10, 50]
    counts = [
        [sum(categories[clip.label] == name for clip in split.test) for name in CATEGORIES]
        for split in annotations.splits.values()
    ]
    assert counts == [[747, 540, 193, 401, 1902], [735, 533, 197, 396, 1873], [711, 536, 189, 409, 1851]]


@pytest.mark.data
@needs_lists
def test_other_datasets_have_no_categories() -> None:
    assert categories_of(read_annotations("hmdb51", LISTS / "hmdb51").classes) is None
    classes = list(read_annotations("ucf101", LISTS / "ucf101").classes)
    assert categories_of(classes[:-1]) is None
    assert categories_of([*classes[:-1], classes[0]]) is None
    assert categories_of([f"class {number}" for number in range(101)]) is None


def test_deviations_and_leaks_are_named() -> None:
    def clip(path: str) -> ListedClip:
        return ListedClip(path=path, label=0, line=Line(Path("x"), 1))

    split = Split(train=(clip("A/v_A_g01_c01.avi"),), test=(clip("A/v_A_g01_c02.avi"), clip("A/v_A_g02_c01.avi")))
    annotations = Annotations(classes=("A",), splits={1: split})
    found = deviations(annotations, OFFICIAL["ucf101"])
    assert found[0] == "classes: 1, official: 101"
    assert "split 1 test: 2, official: 3783" in found
    assert "split 3 train: 0, official: 9624" in found
    groups = {entry.path: group_of(entry.path) for entry in annotations.clips()}
    assert shared_groups(annotations, groups) == ("split 1: group 1 of A is trained and tested on",)
