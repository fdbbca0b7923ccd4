"""Archives of datasets, unpacked into one folder each: ZIP by Python, RAR by a program that can read it."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from cli import rar
from cli.allowance import Allowance, Content, content_of
from cli.client import CommandError
from services.stores.names import temporary
from services.words import counted

RAR_MAGIC = b"Rar!\x1a\x07"
ZIP_MAGIC = b"PK"
BESIDE = "__MACOSX"  # what macOS adds to a ZIP, for itself
TOOLS = (
    ("unrar", "x", "-o+", "-idq"),
    ("unar", "-quiet", "-force-overwrite", "-no-directory"),
    ("7zz", "x", "-y", "-bso0", "-bsp0"),
    ("7z", "x", "-y", "-bso0", "-bsp0"),
    ("bsdtar", "-xf"),
)
"""Some read only a part of the format (7-Zip without its RAR codec,
as distributions ship it, copies but does not decompress), so the next is tried where one fails."""


def unpack(
    archive: Path, folder: Path, allowance: Allowance | None = None, tools: Sequence[Sequence[str]] = TOOLS
) -> None:
    """Unpack an archive with the RAR archives that it holds, so that ``folder`` appears at once and whole.

    Folders that hold nothing but a folder are left out, whatever their names: UCF101.rar holds ``UCF-101/<Class>``,
    HMDB51's archives hold ``<class>`` or, one of a class each, its clips. An archive inside becomes a folder of its
    name.

    Args:
        archive: ZIP or RAR, told by its content.
        folder: does not exist.
        allowance: how much it may hold; the usual one when None.
        tools: programs that unpack RAR into their working folder, with their options, tried in this order.

    Raises:
        CommandError: it is no archive, it is damaged, it holds links or too much, or no program can read it.
    """
    allowance = Allowance() if allowance is None else allowance
    partial = temporary(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _extract(archive, partial / "all", allowance, tools)
        for inner in sorted((partial / "all").rglob("*.rar")):
            _extract(inner, partial / "inner", allowance, tools)
            inner.unlink()
            _innermost(partial / "inner").rename(inner.with_suffix(""))
            shutil.rmtree(partial / "inner", ignore_errors=True)
        _innermost(partial / "all").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def why_no_archive(file: Path) -> str:
    """Say how a file begins where no archive does; nothing where one does."""
    with file.open("rb") as content:
        start = content.read(len(RAR_MAGIC))
    return "" if start == RAR_MAGIC or start.startswith(ZIP_MAGIC) else f"begins with {start!r}, allowed: ZIP, RAR"


def _innermost(folder: Path) -> Path:
    """Go down as long as there is nothing but one folder."""
    entries = [entry for entry in folder.iterdir() if entry.name != BESIDE and not entry.name.startswith(".")]
    return _innermost(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _extract(archive: Path, folder: Path, allowance: Allowance, tools: Sequence[Sequence[str]]) -> None:
    folder.mkdir(parents=True)
    if wrong := why_no_archive(archive):
        raise CommandError(f"{archive}: {wrong}; hint: remove it, and run this again")
    with archive.open("rb") as file:
        is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    if is_zip:
        _unzip(archive, folder, allowance)
    else:
        _unrar(archive, folder, allowance, tools)
    allowance.take(archive, content_of(folder))


def _unrar(archive: Path, folder: Path, allowance: Allowance, tools: Sequence[Sequence[str]]) -> None:
    failures = []
    wanted = rar.promised(archive)
    if wanted is not None:
        allowance.require(archive, Content(sum(size * count for (size, _), count in wanted.items()), wanted.total()))
    for command in tools:
        if shutil.which(command[0]):
            failure = _run(command, archive, folder, wanted, allowance)
            if failure is None:
                return
            failures.append(failure)
            shutil.rmtree(folder)
            folder.mkdir()
    names = ", ".join(name for name, *_ in tools)
    why = "; ".join(failures) if failures else f"unpacking RAR needs one of {names}, and none is installed"
    raise CommandError(f"{archive}: {why}; hint: apt install unar, and run this again")


def _unzip(archive: Path, folder: Path, allowance: Allowance) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()  # Python reads no more of a file than its entry says
            allowance.require(archive, Content(sum(entry.file_size for entry in entries), len(entries)))
            file.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted, or compressed anew
        raise CommandError(f"{archive}: {error}; hint: remove it, and run this again") from error


def _run(
    command: Sequence[str], archive: Path, folder: Path, wanted: rar.Checksums | None, allowance: Allowance
) -> str | None:
    """Unpack a RAR archive by one program, and return why that failed, or None."""
    name = command[0]
    done = allowance.run([*command, str(archive.resolve())], archive, folder)
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"{name} ended with {done.returncode}" + (f" ({words[-1].strip()})" if words else "")
    links = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink())
    if links:  # one may lead out of the folder; ZIP makes none
        raise CommandError(f"{archive}: holds the link {links[0]!r}, allowed: files and folders")
    found = rar.unpacked(folder)
    if not found:
        return f"{name} unpacked nothing"
    if wanted is not None and wanted != found:
        return f"{name} lost or damaged {counted((wanted - found).total(), 'file')} by the archive's checksums"
    return None
