"""Archives of datasets, unpacked into one folder each: ZIP by Python, RAR by a program that can read it."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

from cli import rar
from cli.client import CommandError

RAR_MAGIC = b"Rar!\x1a\x07"
TOOLS = (
    ("unrar", "x", "-o+", "-idq"),
    ("unar", "-quiet", "-force-overwrite", "-no-directory"),
    ("7zz", "x", "-y", "-bso0", "-bsp0"),
    ("7z", "x", "-y", "-bso0", "-bsp0"),
    ("bsdtar", "-xf"),
)
"""Programs that unpack RAR into their working folder. Some read only a part of the format (7-Zip without its RAR codec,
as distributions ship it, copies but does not decompress), so the next is tried where one fails."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive with the RAR archives that it holds, so that ``folder`` appears at once and whole.

    Folders that hold nothing but a folder are left out, whatever their names: UCF101.rar holds ``UCF-101/<Class>``,
    HMDB51's archives hold ``<class>`` or, one of a class each, its clips. An archive inside becomes a folder of its
    name.

    Args:
        archive: ZIP or RAR, told by its content.
        folder: does not exist.

    Raises:
        CommandError: it is no archive, it is damaged, or no program can read it.
    """
    partial = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    _extract(archive, partial / "all")
    for inner in sorted((partial / "all").rglob("*.rar")):
        _extract(inner, partial / "inner")
        inner.unlink()
        _innermost(partial / "inner").rename(inner.with_suffix(""))
        shutil.rmtree(partial / "inner", ignore_errors=True)
    _innermost(partial / "all").rename(folder)
    shutil.rmtree(partial)


def _innermost(folder: Path) -> Path:
    """Go down as long as there is nothing but one folder."""
    entries = list(folder.iterdir())
    return _innermost(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    if zipfile.is_zipfile(archive):
        _unzip(archive, folder)
        return
    with archive.open("rb") as file:
        start = file.read(len(RAR_MAGIC))
    if start != RAR_MAGIC:
        raise CommandError(f"{archive}: begins with {start!r}, allowed: ZIP, RAR; hint: remove it, and run this again")
    failures = []
    for command in TOOLS:
        if shutil.which(command[0]):
            failure = _run(command, archive, folder)
            if failure is None:
                return
            failures.append(failure)
            shutil.rmtree(folder)
            folder.mkdir()
    names = ", ".join(name for name, *_ in TOOLS)
    why = "; ".join(failures) if failures else f"unpacking RAR needs one of {names}, and none is installed"
    raise CommandError(f"{archive}: {why}; hint: apt install unar, and run this again")


def _unzip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CommandError(f"{archive}: {error}; hint: remove it, and run this again") from error


def _run(command: tuple[str, ...], archive: Path, folder: Path) -> str | None:
    """Unpack a RAR archive by one program, and return why that failed, or None."""
    name = command[0]
    done = subprocess.run([*command, str(archive.resolve())], cwd=folder, check=False, capture_output=True)
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        return f"{name} ended with {done.returncode}" + (f" ({words[-1].strip()})" if words else "")
    wanted, found = rar.promised(archive), rar.unpacked(folder)
    if not found:
        return f"{name} unpacked nothing"
    if wanted is not None and wanted != found:
        return f"{name} lost or damaged {(wanted - found).total()} files by the archive's checksums"
    return None
