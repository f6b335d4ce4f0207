"""Receives the form of an acceptance test: a site's patches with their labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO, TextIOWrapper

from starlette.requests import Request

from app.acceptance_run import SiteRequest
from app.api.body import MULTIPART, BoundedReader, MppField
from app.api.form import Form
from app.diagnosis.acceptance import SitePatch
from app.diagnosis.labelled import MAX_CSV_BYTES, Row, rows_of
from app.diagnosis.scale import Mpp
from app.problems import InvalidForm
from app.web.strings import t
from model_zoo.acceptance import MAX_PATCHES

MAX_BYTES = 2**24
MAX_NAME = 200
CLASSES = {"tumour": 1, "normal": 0}
SITE, LABELS, UNLABELLED = "site", "labels", "file"
_MAX_SITE_BYTES = 1000


@dataclass
class _File:
    """A chosen file; ``kind`` is its field."""

    kind: str
    name: str
    data: bytearray = field(default_factory=bytearray)


class SiteReader(BoundedReader):
    """Receives 100 to 500 patches: in the fields ``tumour`` and ``normal``, or as ``file`` with a CSV file ``labels``.

    Args:
        max_patch_bytes: of one file.
        timeout_s: within which all must have arrived.
    """

    def __init__(self, max_patch_bytes: int, timeout_s: float) -> None:
        super().__init__(MAX_BYTES, timeout_s, (MULTIPART,), "choose fewer or smaller files")
        self._max_patch_bytes = max_patch_bytes

    async def receive(self, request: Request) -> SiteRequest:
        """The patches, and what the form says of them.

        Raises:
            InvalidForm: if the form does not fit; says which file, and why.
            UnsupportedContentType, BodyTooLarge, BodyTooSlow, BodyIncomplete: as their names say.
        """
        kind = self.check_headers(request)
        arriving = _Arriving(kind.boundary, self._max_patch_bytes)
        await self.pour(request, arriving.form.feed)
        arriving.form.finish(SITE)
        site = arriving.site.decode("utf-8", "replace").strip()
        patches = labelled(arriving.chosen())
        return SiteRequest(patches, site, t("acceptance.source.page"), arriving.mpp())


class _Arriving:
    """What has arrived of the form."""

    def __init__(self, boundary: bytes, max_patch_bytes: int) -> None:
        self._max_patch_bytes = max_patch_bytes
        self._files: list[_File] = []
        self._mpp = MppField()
        self.site = bytearray()
        fields = (*CLASSES, UNLABELLED, LABELS)
        sinks = dict.fromkeys(fields, self._take) | {SITE: self._take_site, self._mpp.name: self._mpp.take}
        self.form = Form(boundary, sinks, {name: partial(self._begin, name) for name in fields})

    def mpp(self) -> Mpp:
        return self._mpp.of(self.form)

    def chosen(self) -> list[_File]:
        """The files; an input without a file sends an empty one without a name."""
        return [file for file in self._files if file.name or file.data]

    def _begin(self, name: str) -> None:
        patches = sum(file.kind != LABELS and file.name != "" for file in self._files)
        if (name != LABELS and self.form.file_name and patches >= MAX_PATCHES) or len(self._files) > MAX_PATCHES + len(
            CLASSES
        ) + 2:
            raise InvalidForm(f"More than {MAX_PATCHES} patches were chosen: choose fewer, at random.")
        self._files.append(_File(name, _shown(self.form.file_name)))

    def _take(self, chunk: bytes) -> None:
        file = self._files[-1]
        file.data.extend(chunk)
        most = MAX_CSV_BYTES if file.kind == LABELS else self._max_patch_bytes
        if len(file.data) > most:
            raise InvalidForm(f"{file.name} has over {most} bytes: choose files of single patches, or leave it out.")

    def _take_site(self, chunk: bytes) -> None:
        self.site.extend(chunk[: _MAX_SITE_BYTES - len(self.site)])


def labelled(files: Sequence[_File]) -> list[SitePatch]:
    """The patches with their labels, by the field or by the CSV file.

    Raises:
        InvalidForm: if a label is missing or unknown, or both ways are used.
    """
    by_class = [file for file in files if file.kind in CLASSES]
    unlabelled = [file for file in files if file.kind == UNLABELLED]
    lists = [file for file in files if file.kind == LABELS]
    if by_class and (unlabelled or lists):
        raise InvalidForm("Files were chosen in both ways: use tumour and normal, or files with a CSV file.")
    if not lists:
        if unlabelled:
            raise InvalidForm("The CSV file with the labels was not chosen: choose it, too.")
        found = [_patch(f"{file.kind}/{file.name}", CLASSES[file.kind], file) for file in by_class]
        return sorted(found, key=lambda patch: patch.name)  # as of a folder: resampling depends on the order
    if len(lists) > 1:
        raise InvalidForm(f"{len(lists)} CSV files were chosen: choose one.")
    try:
        return _by_rows(lists[0], unlabelled)
    except ValueError as error:
        raise InvalidForm(f"{error}.") from error


def _by_rows(labels: _File, files: Sequence[_File]) -> list[SitePatch]:
    """The chosen files, each with the label of its row.

    Raises:
        ValueError: if files and rows do not fit together.
    """
    chosen: dict[str, _File] = {}
    for file in files:
        if chosen.setdefault(file.name, file) is not file:
            raise ValueError(f"two of the chosen files are called {file.name}: rename one of them, and its row")
    rows: dict[str, Row] = {}
    with TextIOWrapper(BytesIO(labels.data), encoding="utf-8-sig", newline="") as text:
        for row in rows_of(text, labels.name):
            name = _shown(row.file)
            where = f"{labels.name} line {row.line}"
            if name not in chosen:
                raise ValueError(f"{where} names the file {row.file!r}, which was not chosen: choose it, too")
            if name in rows:
                raise ValueError(f"{where} names the file {row.file!r}, as does line {rows[name].line}: remove a row")
            rows[name] = row
    if left := next((name for name in chosen if name not in rows), None):
        raise ValueError(f"{labels.name} has no row for the file {left}: add one, or leave the file out")
    return [_patch(name, row.label, chosen[name]) for name, row in rows.items()]


def _patch(name: str, label: int, file: _File) -> SitePatch:
    return SitePatch(name, label, partial(bytes, file.data))


def _shown(name: str) -> str:
    """A file's name without its folders, and without what cannot be printed."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in last)[:MAX_NAME]
