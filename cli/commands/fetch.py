"""`dataset fetch`: the official archives of UCF101 and HMDB51, from their owners, resumed where they broke off."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, NamedTuple, get_args

import typer

from cli.allowance import Allowance
from cli.client import FAILURE, INVALID, CommandError
from cli.terminal import say
from services.cache.sizes import ALLOWED, parse_bytes
from services.datasets.layouts import Layout, read_annotations
from services.datasets.official import OFFICIAL, deviations
from services.errors import DataError
from services.limits import MAX_ARCHIVE_FILES, MAX_ARCHIVE_GIGABYTES
from services.words import counted


class Archive(NamedTuple):
    """An official archive.

    Attributes:
        name: of its file.
        folder: for what it holds.
        addresses: where its owner serves it, tried in this order.
    """

    name: str
    folder: str
    addresses: tuple[str, ...]


class Official(NamedTuple):
    """A dataset: the owner's page, and the archives of clips and of lists."""

    page: str
    clips: Archive
    lists: Archive


UCF = "https://www.crcv.ucf.edu"
HMDB = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
SOURCES: dict[Layout, Official] = {  # docs/datasets.md says which public source names which address
    "ucf101": Official(
        f"{UCF}/data/UCF101.php",
        Archive(
            "UCF101.rar",
            "UCF-101",
            (f"{UCF}/data/UCF101/UCF101.rar", f"{UCF}/datasets/human-actions/ucf101/UCF101.rar"),
        ),
        Archive(
            "UCF101TrainTestSplits-RecognitionTask.zip",
            "ucfTrainTestlist",
            (
                f"{UCF}/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
                f"{UCF}/wp-content/uploads/2019/03/UCF101TrainTestSplits-RecognitionTask.zip",
            ),
        ),
    ),
    "hmdb51": Official(
        "https://serre.lab.brown.edu/hmdb51.html",
        Archive(
            "hmdb51_org.rar",
            "hmdb51_org",
            (f"{DRIVE}17anw5Oxp7lmp9cMwXPOyOpL5olDLmPpj", f"{HMDB}/hmdb51_org.rar"),
        ),
        Archive(
            "test_train_splits.rar",
            "testTrainMulti_7030_splits",
            (f"{DRIVE}1NQxJWJSYWefyNS-LFYCenFih4gRDUPCX", f"{HMDB}/test_train_splits.rar"),
        ),
    ),
}


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ucf101 or hmdb51.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of the archives and of what they hold.")],
    address: Annotated[
        list[str] | None,
        typer.Option(
            help="Address to take the clips from instead of the owner's; given again, that of the lists. "
            "Or both, with a blank between, in TWOSTREAM_FETCH_NAME."
        ),
    ] = None,
    unpack: Annotated[bool, typer.Option(help="Unpack the archives.")] = True,
    max_size: Annotated[
        str, typer.Option(help="What an archive, and what it holds, may take: bytes, or 200GB, 64GiB.")
    ] = f"{MAX_ARCHIVE_GIGABYTES:g}GB",
    max_files: Annotated[
        int, typer.Option(min=1, help="Files and folders that an archive may hold.")
    ] = MAX_ARCHIVE_FILES,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not ask servers for a valid certificate; UCF's lacks a link.")
    ] = False,
) -> None:
    """Download the official archives of a dataset and unpack them into a folder of clips and one of lists.

    Run again, it goes on where it was; what is unpacked already is not fetched again.
    """
    if name not in get_args(Layout):
        raise CommandError(f"NAME: got {name!r}, allowed: {', '.join(SOURCES)}", INVALID)
    try:
        most = parse_bytes(max_size)
    except ValueError as error:
        raise CommandError(f"--max-size: got {max_size!r}, allowed: {ALLOWED}", INVALID) from error
    layout: Layout = name  # type: ignore[assignment]
    source = SOURCES[layout]
    given = address or os.environ.get(f"TWOSTREAM_FETCH_{name.upper()}", "").split()
    if len(given) > 2:
        raise CommandError(f"--address: got {len(given)}, allowed: one for the clips and one for the lists", INVALID)
    archives = [source.clips, source.lists]
    archives[: len(given)] = [archive._replace(addresses=(url,)) for archive, url in zip(archives, given, strict=False)]
    try:
        to.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            _bring(archive, to, source.page, (most, max_files), unpack=unpack, verify=not insecure)
        if unpack:
            _tell(layout, to / source.clips.folder, to / source.lists.folder)
    except OSError as error:
        raise CommandError(f"{to}: {error}", FAILURE) from error


def _bring(archive: Archive, to: Path, page: str, most: tuple[int, int], *, unpack: bool, verify: bool) -> None:
    """Have an archive in ``to``, or what it holds in its folder there, of no more bytes and files than ``most``."""
    from cli.archives import unpack as unpack_archive
    from cli.download import NotServed, download

    file, folder = to / archive.name, to / archive.folder
    if unpack and folder.is_dir():
        return
    reasons = []
    for url in () if file.exists() else archive.addresses:
        try:
            download(url, file, verify=verify, max_bytes=most[0])
            break
        except NotServed as error:
            reasons.append(str(error))
    if not file.exists():
        raise CommandError(
            f"{'; '.join(reasons)}; hint: the page may have moved. Download {archive.name} by hand from {page} into "
            f"{to} and run this again, or give an address by --address",
            FAILURE,
        )
    if unpack:
        say(f"unpacking {file} into {folder}", error=True)
        unpack_archive(file, folder, Allowance(*most))
    else:
        say(str(file))


def _tell(layout: Layout, root: Path, lists: Path) -> None:
    """Say what is there and what comes next; end with 1 where listed clips are missing."""
    try:
        annotations = read_annotations(layout, lists)
    except DataError as error:
        raise CommandError(str(error), FAILURE) from error
    named = annotations.named_clips()
    present = sum((root / clip.path).is_file() for clip in named)
    say(f"{layout}: {present} of {len(named)} listed clips in {root}, lists in {lists}")
    for words in deviations(annotations, OFFICIAL[layout]):
        say(f"lists differ from the official ones: {words}")
    if present < len(named):
        hint = "hint: remove the folder, and run this again"
        raise CommandError(
            f"{root}: {counted(len(named) - present, 'listed clip', 'is', 'are')} missing; {hint}", FAILURE
        )
    where = f"--root {shlex.quote(str(root))} --splits {shlex.quote(str(lists))}"
    say(f"next: twostream dataset add {layout} --layout {layout} {where}")
    say(f"then: twostream dataset check {layout}")
