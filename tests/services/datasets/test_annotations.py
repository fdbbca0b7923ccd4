"""A list may be a link to a file that is no list: it is refused by name and line, and not quoted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.datasets.annotations import Annotations
from services.datasets.hmdb51 import read_hmdb51
from services.datasets.ucf101 import read_ucf101
from services.errors import DataError

FORBIDDEN = ["root:x:0:0:hunter2", "hunter2", "hunter2 1", "hunter2/hunter2", "Run/hunter2 9", "1 hunter2/hunter2"]
READERS: dict[str, Callable[[Path], Annotations]] = {
    "classInd.txt": read_ucf101,
    "trainlist01.txt": read_ucf101,
    "testlist01.txt": read_ucf101,
    "Run_test_split1.txt": read_hmdb51,
}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Run\n")
    (folder / "trainlist01.txt").write_text("Run/a.avi 1\n")
    (folder / "testlist01.txt").write_text("Run/b.avi\n")
    (folder / "Run_test_split1.txt").write_text("a.avi 1\nb.avi 2\n")
    return folder


CASES = [(name, content) for name in READERS for content in FORBIDDEN]
CASES.remove(("Run_test_split1.txt", "hunter2 1"))  # as good as a line of HMDB51's lists


@pytest.mark.parametrize(("name", "content"), CASES)
def test_what_a_link_leads_to_is_not_quoted(lists: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "shadow").write_text(f"{content}\n{content}\n")
    (lists / name).unlink()
    (lists / name).symlink_to(tmp_path / "shadow")
    with pytest.raises(DataError, match=name) as caught:
        READERS[name](lists)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_list_itself_is_quoted(lists: Path, name: str) -> None:
    (lists / name).write_text("root:x:0:0:hunter2\n")
    with pytest.raises(DataError, match=rf"{name}:1: .*hunter2"):
        READERS[name](lists)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_no_list(lists: Path, name: str) -> None:
    (lists / name).unlink()
    os.mkfifo(lists / name)
    with pytest.raises(DataError, match=rf"{name}: not a list, which is a regular file of at most 64 MiB"):
        READERS[name](lists)
