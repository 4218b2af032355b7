"""Everything that can be said about data: what to read, from how many sources, what to leave out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from danlu.data.documents import Borders
from danlu.files import at_home
from danlu.settings import Settings

Format = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]


def _several(value: Any) -> Any:
    listed = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [str(each) if isinstance(each, (str, Path, int, float)) else each for each in listed]


def _named(value: Any) -> Any:
    """`data.sources.en=en.txt` names the files alone; a list of sources with names says the same as a mapping."""
    if isinstance(value, (list, tuple)):
        unnamed = [each for each in value if not isinstance(each, Mapping) or "name" not in each]
        if unnamed:
            return value
        value = {str(each["name"]): {key: part for key, part in each.items() if key != "name"} for each in value}
    if not isinstance(value, Mapping):
        return value
    return {name: each if isinstance(each, (Mapping, Settings)) else {"paths": each} for name, each in value.items()}


def _kind(value: Any) -> Any:
    """`data.deduplicate=near` says the kind alone."""
    return {"kind": value} if isinstance(value, str) else value


def _repetition(value: Any) -> Any:
    """`data.filters=gopher` means the usual rules."""
    return USUAL if value in ("gopher", "usual") else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_several)]
USUAL: Mapping[str, Any] = {
    "characters": 100, "letters": 0.6, "digits": 0.2, "symbols": 0.1, "repetition": True, "script": 0.5,
}  # fmt: skip


class FilterSettings(Settings):
    """What a document must be like to be read; what is None is not asked. `data.filters=gopher`: 100 characters, and
    the other rules with usual limits.

    characters, most: at least, and at most so many. letters: their least share of what is no space. digits, symbols:
    the largest share of digits, and of what is neither letter nor digit nor punctuation. script: the least share of
    the letters that are of the script of the source's language. repetition: lines, paragraphs and runs of words that
    come again (Rae et al. 2021, table A1); Chinese and Japanese characters count as words.
    """

    characters: int | None = Field(None, ge=1)
    most: int | None = Field(None, ge=1)
    letters: float | None = Field(None, ge=0, le=1)
    digits: float | None = Field(None, ge=0, le=1)
    symbols: float | None = Field(None, ge=0, le=1)
    script: float | None = Field(None, ge=0, le=1)
    repetition: bool = False

    @property
    def any(self) -> bool:
        return any(value not in (None, False) for _, value in self)


class DeduplicateSettings(Settings):
    """exact: documents whose text is the same but for spaces and capitals. near: also those that share `similarity` of
    their runs of `words` words (Jaccard), as MinHash sees it with `hashes` hashes (Broder 1997). The first one stays.
    """

    kind: Literal["none", "exact", "near"] = "none"
    similarity: float = Field(0.8, gt=0, lt=1)
    words: int = Field(5, ge=1)
    hashes: int = Field(128, ge=16, le=1024)


Filters = Annotated[FilterSettings, BeforeValidator(_repetition)]


class SourceSettings(Settings):
    """One of several sources. weight: its part of the rows, by the weights of all; without any, the amounts of text
    decide. language: which one it is in; its own name where the model tells languages apart. parallel: language -> its
    file, line by line the same, or its column, where `paths` names tables. What is None is as it is for all data.
    """

    paths: Paths = ()
    weight: float | None = None
    language: str | None = None
    parallel: dict[str, str] = Field(default_factory=dict)
    format: Format | None = None
    text: str | None = None
    columns: dict[str, str] | None = None
    documents: Borders | None = None
    encoding: str | None = None
    filters: Filters | None = None


class DataSettings(Settings):
    """What to read, and how. Everything but `paths` has a choice of its own that fits most files.

    `paths`: files, folders, `-` for standard input, `builtin:NAME`. `sources`: name -> a source of its own, and how
    often it is drawn. `sampling`: without weights, source i is drawn size_i ^ sampling times (XLM's alpha); auto: 0.7
    where sources differ in language, else 1. `validation`: the same as `paths`, kept apart from training; where there
    is none, `held_out` of the documents are (auto: 5 %, at most a million tokens). `text`: the column that
    holds the text, or a template such as `"{title}: {body}"`; `columns`: our name -> the file's. `documents`: where the
    documents of plain text end. `broken`: the share of broken rows that is passed over and noted. `deduplicate`,
    `filters`: what is left out; `decontaminate`: files whose text must not be trained on, and `overlap`: how many
    words in a row must be the same. `length`: tokens in a row; the model's context where it is not given. `cache`:
    where tokenised text is kept.
    """

    paths: Paths = ()
    sources: Annotated[dict[str, SourceSettings], BeforeValidator(_named)] = Field(default_factory=dict)
    sampling: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    language: str | None = None
    parallel: dict[str, str] = Field(default_factory=dict)
    validation: Paths = ()
    held_out: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    format: Format = "auto"
    text: str = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    documents: Borders = "auto"
    encoding: str = "auto"
    broken: float = Field(0.01, ge=0, le=1)
    deduplicate: Annotated[DeduplicateSettings, BeforeValidator(_kind)] = DeduplicateSettings()
    filters: Filters = FilterSettings()
    decontaminate: Paths = ()
    overlap: int = Field(13, ge=2)
    length: int | None = Field(None, ge=2)
    cache: Path = Path("~/.cache/danlu")

    @property
    def cache_folder(self) -> Path:
        return at_home(self.cache)

    @property
    def any(self) -> bool:
        """Whether anything to read is named."""
        return bool(self.paths or self.parallel or self.sources)

    @property
    def sifts(self) -> bool:
        """Whether documents are looked at one by one before they are used."""
        filtered = any(
            each.any for each in (self.filters, *(part.filters or self.filters for part in self.sources.values()))
        )
        return filtered or self.deduplicate.kind != "none" or bool(self.decontaminate)

    @property
    def parts(self) -> "dict[str, DataSettings]":
        """Each source by name, as settings of its own; one without a name where there is nothing but `paths`."""
        if not self.sources:
            return {"": self}
        alone = self.model_copy(update={"sources": {}, "paths": (), "parallel": {}, "language": None})
        plain = {PATHS: alone.model_copy(update={"paths": self.paths, "language": self.language})} if self.paths else {}
        return plain | {name: alone.model_copy(update=_said(source)) for name, source in self.sources.items()}

    @property
    def languages(self) -> tuple[str, ...]:
        """The names of all languages, in the order of the alphabet."""
        return tuple(sorted({name for each in self.parts.values() for name in spoken(each)}))


PATHS = "data"  # what a source is called that is nothing but `data.paths`, beside others


def spoken(part: DataSettings) -> tuple[str, ...]:
    """The languages of one source."""
    return tuple(part.parallel) or ((part.language,) if part.language else ())


def _said(source: SourceSettings) -> dict[str, Any]:
    return {name: value for name, value in source if value is not None and name != "weight"}
