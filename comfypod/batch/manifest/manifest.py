"""A batch as it was asked for: what there is to make, of which files, and the name by which it is the same batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from comfypod.batch.documents import Asset, Item, Signature
from comfypod.batch.manifest.database_rows import DatabaseRows
from comfypod.batch.manifest.folder_rows import Folder
from comfypod.batch.manifest.form_library import FormLibrary
from comfypod.batch.manifest.items import ItemMaker, Made
from comfypod.batch.manifest.json_lines import JSONLines
from comfypod.batch.manifest.library import ModelLibrary
from comfypod.batch.manifest.options import ManifestOptions, SourceKind
from comfypod.batch.manifest.rows import Row, RowProblem, RowSource
from comfypod.batch.manifest.sizes import Size, asset_of, known_assets, look_up_sizes
from comfypod.batch.manifest.survey import Survey
from comfypod.batch.manifest.table_rows import TableFile
from comfypod.errors import InvalidManifest
from comfypod.schema.template import templates_folder
from comfypod.schema.wire import shortened
from comfypod.storage.models.manifest import ModelManifest

_KINDS: Final[Mapping[str, SourceKind]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
}


TOLD_EVERY: Final = 1000
"""Items."""


class Manifest:
    """Items, and the files that they need. It has been read once, and everything in it is right.

    ``identifier`` is of the items' identifiers, in whatever order they stand: the same items are the same batch.
    ``count`` is how many there are, ``assets`` has what they need by key, ``notes`` are sentences about what may not
    be as it was meant.
    """

    def __init__(self, reader: Reader, survey: Survey, assets: Mapping[str, Asset]) -> None:
        self.identifier = survey.identifier()
        self.count = survey.count
        self.assets = assets
        self.notes: Sequence[str] = survey.notes()
        self._reader = reader
        self._fingerprint = survey.fingerprint
        self._repeated = frozenset(survey.repeated)
        self._signatures = survey.signatures()

    def signatures(self) -> dict[Signature, tuple[int, float]]:
        """How many items there are of each group, and their work in megapixel-steps."""
        return dict(self._signatures)

    def items(self) -> Iterator[Item]:
        """The items, in the order of their rows; the source is read again, a row at a time.

        Raises:
            InvalidManifest: the source is not what it was.
        """
        seen: set[bytes] = set()
        fingerprint = 0
        for row, (_, made) in enumerate(self._reader.made(self._reader.problems())):
            if made.digest in self._repeated:
                if made.digest in seen:
                    continue
                seen.add(made.digest)
            fingerprint ^= int.from_bytes(made.digest, "big")
            yield item_of(row, made)
        if fingerprint != self._fingerprint:
            raise InvalidManifest([f"{self._reader.shown} is not what it was when it was read first; begin again."])


def item_of(row: int, made: Made) -> Item:
    """The document of an item."""
    return Item(
        identifier=made.digest.hex(),
        row=row,
        job=made.job,
        assets=made.assets,
        work=made.facts.work,
        name=made.name,
    )


def read_manifest(
    source: Path | str, options: ManifestOptions | None = None, on_items: Callable[[int], None] | None = None
) -> Manifest:
    """Read a manifest from its first to its last row, and know all of its files.

    It blocks, may ask the sources of model files for sizes, and is not to be called where an event loop runs.

    Args:
        source: a file of JSON lines, a table (CSV, TSV), a folder, or the URL of a database.
        options: how it is to be read.
        on_items: told now and then how many items were read so far.

    Raises:
        InvalidManifest: it is not one; every problem is named with its row, up to ``most_problems``.
        ConfigurationError: ``models.toml`` or a template's file is not valid.
    """
    reader = Reader(source, options or ManifestOptions())
    survey, problems = Survey(reader.word), reader.problems()
    for row, made in reader.made(problems):
        try:
            survey.add(row, made)
        except RowProblem as error:
            problems.add(row, error.args)
        if on_items is not None and survey.count % TOLD_EVERY == 0:
            on_items(survey.count)
        if survey.count > reader.options.most_items:
            problem = f"{reader.shown} has more than {reader.options.most_items:,} items; make several batches of it."
            raise InvalidManifest([problem])
    if not survey.count:
        raise InvalidManifest([f"{reader.shown} has no items."])
    return Manifest(reader, survey, reader.assets_of(survey.keys()))


class Reader:
    """Reads a source, from the beginning, as often as it is asked to."""

    def __init__(self, source: Path | str, options: ManifestOptions) -> None:
        self.options = options
        self._source, self.shown, self._folder = open_source(source, options)
        models = options.models_toml
        manifest = ModelManifest.from_file(models) if models.exists() else ModelManifest()
        self.word = self._source.word
        self._library = ModelLibrary(manifest, accepts_unknown=options.assume_size_bytes is not None)
        folder = options.templates_folder or templates_folder()
        self._forms = FormLibrary(self._library, folder, self._folder, options.longest_row_bytes)

    def problems(self) -> Problems:
        """What is wrong with the rows of one reading; nothing so far."""
        return Problems(self.word, self.options.most_problems)

    def made(self, problems: Problems) -> Iterator[tuple[Row, Made]]:
        """Every row with what it means; what cannot be made is one of the problems.

        Raises:
            InvalidManifest: after the last row, if there are any problems; or when there are too many.
        """
        rows = self._source.rows()
        first = next(rows, None)
        maker = self._maker()
        told: set[str] = set()
        for row in chain([first] if first is not None else [], rows):
            try:
                made = maker.make(row)
            except RowProblem as error:
                problems.add(row, error.args)
                continue
            if new := [problem for problem in made.facts.assets.problems if problem not in told]:
                told.update(new)
                problems.add(row, new)
            yield row, made
        problems.raise_any()

    def _maker(self) -> ItemMaker:
        """Once the first row was read, which may have defaults."""
        try:
            given = None if self.options.template is None else self._forms.given(self.options.template)
        except RowProblem as error:
            raise InvalidManifest([f"--template: {clause}." for clause in error.args]) from error
        defaults = self._source.defaults
        parameters = defaults.get("parameters", {})
        if isinstance(parameters, Mapping):
            defaults = {**defaults, "parameters": {**self.options.parameters, **parameters}}
        try:
            return ItemMaker(self._forms, self._library, defaults=defaults, given=given, ignored=self.options.ignored)
        except RowProblem as error:
            raise InvalidManifest([f"defaults: {clause}." for clause in error.args]) from error

    def assets_of(self, keys: Sequence[str]) -> dict[str, Asset]:
        """The model files of these keys, with their sizes.

        Raises:
            InvalidManifest: one's size cannot be known.
        """
        entries, assume = self._library.entries, self.options.assume_size_bytes
        assets, unknown = known_assets(keys, entries, assume)
        sizes = look_up_sizes(unknown, os.environ, self.options.sizes_cache) if self.options.look_up else {}
        problems = []
        for entry in unknown:
            size = sizes.get(entry.key, f"The size of {entry.key} is not in models.toml")
            if isinstance(size, Size):
                assets[entry.key] = asset_of(entry.key, entry, *size)
            elif assume is not None:
                assets[entry.key] = asset_of(entry.key, entry, assume)
            else:
                problems.append(f"{size}. Put size_bytes into models.toml, or give --assume-size.")
        if problems:
            raise InvalidManifest(problems[: self.options.most_problems])
        return {key: assets[key] for key in keys}


def open_source(source: Path | str, options: ManifestOptions) -> tuple[RowSource, str, Path | None]:
    """The rows' source, what messages call it, and the folder in which its rows may name files.

    Raises:
        InvalidManifest: there is no such thing, or it is of no known kind.
    """
    text, limit = str(source), options.longest_row_bytes
    kind = options.kind or ("sql" if "://" in text else None)
    if kind == "sql":
        return DatabaseRows(text, options.query), "The database's answer", None
    path = Path(source)
    kind = kind or ("folder" if path.is_dir() else _KINDS.get(path.suffix.lower()))
    if kind is None:
        known = "a .jsonl, .csv or .tsv file, a folder, or the URL of a database"
        raise InvalidManifest([f"{shortened(text)} is not known to be a manifest: give {known}, or say --from."])
    if kind == "folder":
        return Folder(path, limit), text, path
    made: RowSource = TableFile(path, limit) if kind == "csv" else JSONLines(path, limit)
    return made, text, path.parent


class Problems:
    """What is wrong with rows, as sentences, until there are too many."""

    def __init__(self, word: str, most: int) -> None:
        self._word = word
        self._most = most
        self._found: list[str] = []

    def add(self, row: Row, clauses: Sequence[str]) -> None:
        """Note what is wrong with a row.

        Raises:
            InvalidManifest: there are too many now.
        """
        self._found += (f"{self._word.capitalize()} {row.place}: {clause}." for clause in clauses)
        if len(self._found) >= self._most:
            self._found = [*self._found[: self._most], "Reading ended here: there may be more."]
            self.raise_any()

    def raise_any(self) -> None:
        """Raise `InvalidManifest` with all of them, if there are any."""
        if self._found:
            raise InvalidManifest([shortened(problem, 500) for problem in self._found])
