"""Writes a model bundle, and reads one from anywhere: what is damaged, cut off or newer is refused in words."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Self

from pydantic import ValidationError

from services import json_text
from services.bundles.contents import CONTENTS_FILE, FORMAT, VERSION, Bundle, Weights, member_of
from services.bundles.safetensors_file import SUFFIX, packed, stored
from services.bundles.torch_file import CHUNK_BYTES, TorchFile
from services.errors import DataError
from services.stores.files import replacing

MAX_CONTENTS_BYTES = 16 << 20
OTHER_ZIP = "a zip without " + CONTENTS_FILE
UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError)
"""What reading a damaged zip raises; the last one of a member that says it is encrypted, or packed in a new way."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Every member's date, so that equal bundles have equal bytes."""


def write_bundle(
    file: BinaryIO, contents: Callable[[Mapping[str, Weights]], Bundle], weights: Mapping[str, Path]
) -> None:
    """Write a bundle; no more than one tensor lies in memory.

    Args:
        file: takes it.
        contents: makes what the bundle says of itself, with its weights as they were written.
        weights: files of ``torch.save`` or safetensors, by name.

    Raises:
        DataError: a file of weights is missing or broken, or holds more than a state dict.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        written = {name: _add_weights(archive, name, path) for name, path in weights.items()}
        about = json.dumps(contents(written).model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
        archive.writestr(zipfile.ZipInfo(CONTENTS_FILE, EPOCH), about.encode())


def _add_weights(archive: zipfile.ZipFile, name: str, path: Path) -> Weights:
    if path.suffix == SUFFIX:
        return _add(archive, name, path.stat().st_size, stored(path), None)
    with TorchFile(path) as file:
        size, chunks = packed(file)
        return _add(archive, name, size, chunks(), file.seen)


def _add(
    archive: zipfile.ZipFile, name: str, size: int, chunks: Iterator[bytes], seen: dict[str, Any] | None
) -> Weights:
    member, digest = zipfile.ZipInfo(member_of(name), EPOCH), hashlib.sha256()
    member.file_size = size
    with archive.open(member, "w") as target:
        for chunk in chunks:
            digest.update(chunk)
            target.write(chunk)
    return Weights(bytes=size, sha256=digest.hexdigest(), seen=seen)


class BundleFile:
    """A bundle on disk, of whatever source; nothing in it is run.

    Args:
        path: the file.

    Attributes:
        contents: what it says of itself.

    Raises:
        DataError: it is missing, damaged, cut off, none of ours, or a newer version's; the message names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file() and not path.is_dir():
            self._refuse("is no regular file")  # to open a pipe would wait for its other end
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            self._refuse("is missing")
        except IsADirectoryError:
            self._refuse("is a folder")
        except OSError as error:
            self._refuse(f"cannot be read: {error.strerror or error}")
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError):
            self._refuse(_why_no_zip(path))
        try:
            self.contents = self._contents()
            self._require_members()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def unpack(self, name: str, target: Path) -> None:
        """Write the weights of a name into a file, if every byte is as it was written.

        Raises:
            DataError: some are not.
        """
        with replacing(target) as file:
            for chunk in self._checked(name):
                file.write(chunk)

    def require_whole(self) -> None:
        """Read all weights once.

        Raises:
            DataError: a byte is not as it was written.
        """
        for name in self.contents.weights:
            for _ in self._checked(name):
                pass

    def _checked(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of the weights of a name; the last ones come with an error if any is another."""
        member, digest = member_of(name), hashlib.sha256()
        try:
            with self._archive.open(member) as source:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk
        except (*UNREADABLE, ValueError):
            self._refuse(f"is damaged: {member} is cut off, or not as it was written")
        if digest.hexdigest() != self.contents.weights[name].sha256:
            self._refuse(f"is damaged: {member} has another checksum than {CONTENTS_FILE} says")

    def _contents(self) -> Bundle:
        twice = [name for name, count in Counter(self._archive.namelist()).items() if count > 1]
        if twice:
            self._refuse(f"is damaged: {twice[0]} is there twice")
        try:
            member = self._archive.getinfo(CONTENTS_FILE)
        except KeyError:
            self._refuse(f"is no {FORMAT}, but {OTHER_ZIP}")
        self._require_stored(member)
        if member.file_size > MAX_CONTENTS_BYTES:
            self._refuse(f"has a {CONTENTS_FILE} of {member.file_size} bytes, allowed: {MAX_CONTENTS_BYTES}")
        try:
            text = self._archive.read(member)
        except (*UNREADABLE, OSError):
            self._refuse(f"is damaged: {CONTENTS_FILE} is cut off, or not as it was written")
        content = self._parsed(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            self._refuse(f"is no {FORMAT}: {CONTENTS_FILE} says {_shown(content)}")
        version = content.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            newer = "; hint: a newer twostream wrote it" if isinstance(version, int) and version > VERSION else ""
            self._refuse(f"is a {FORMAT} of version {_shown(version)}, allowed: up to {VERSION}{newer}")
        try:
            found = Bundle.model_validate(content)
            fault = found.fault
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            self._refuse(f"is no whole {FORMAT}: {CONTENTS_FILE}: {where}{': ' if where else ''}{first['msg']}")
        if fault is not None:
            self._refuse(f"is no whole {FORMAT}: {CONTENTS_FILE}: {fault}")
        return found

    def _parsed(self, text: bytes) -> Any:
        try:
            return json_text.parsed(text)
        except json_text.Twice as error:
            self._refuse(f"is damaged: {CONTENTS_FILE} has {_shown(error.field)} twice in one object")
        except (ValueError, RecursionError):
            self._refuse(f"is damaged: {CONTENTS_FILE} is no JSON")

    def _require_members(self) -> None:
        for name, weights in self.contents.weights.items():
            try:
                member = self._archive.getinfo(member_of(name))
            except KeyError:
                self._refuse(f"is damaged: {member_of(name)} is missing")
            self._require_stored(member)
            if member.file_size != weights.bytes:
                self._refuse(f"is damaged: {member.filename} has {member.file_size} bytes, expected {weights.bytes}")

    def _require_stored(self, member: zipfile.ZipInfo) -> None:
        """Refuse what could grow when it is unpacked."""
        if member.compress_type != zipfile.ZIP_STORED:
            self._refuse(f"has a compressed {member.filename}, allowed: members without compression")

    def _refuse(self, why: str) -> NoReturn:
        raise DataError(f"{self.path} {legible(why)}") from None


def legible(words: str) -> str:
    """Return words about a file, which may quote it, as one line that steers no terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def _why_no_zip(path: Path) -> str:
    try:
        with path.open("rb") as file:
            begins = file.read(4)
    except ValueError:
        return "cannot be read: it is no file name"
    if not begins:
        return "is empty"
    if begins == b"PK\x03\x04":
        return f"is damaged: it begins as a {FORMAT} and is cut off, or its end is not as it was written"
    return f"is no {FORMAT}: it is no zip"


def _shown(value: object) -> str:
    """Return the beginning of what a file says, which may be anything."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
