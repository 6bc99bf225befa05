"""Read and check a configuration; an unknown key is refused with the nearest known one."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from speckleflow.config.models import Config, ScanConfig, coupled_problems
from speckleflow.config.moved import MOVED
from speckleflow.errors import ConfigError

#: longest text of the user's that a message repeats, in characters
_LONGEST = 200
#: bytes of the largest configuration or scan table that is read
_MOST_BYTES = 20_000_000
#: levels of the deepest configuration
_DEEPEST = 20
#: columns of the scan table that are the user's own, beside all whose name begins with 'note'
_NOTES = frozenset({"comment", "comments", "name", "description", "date", "operator", "remarks"})
SCAN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def load_config(path: str | Path) -> Config:
    """The configuration in a YAML file; keys that are absent take their documented defaults.

    Raises
    ------
    ConfigError
        The file is missing or not YAML, or holds an unknown key or a value that cannot be used.
    """
    path = Path(path)
    raw = read_yaml(path)
    return parse_config(raw or {}, str(path))


def read_yaml(path: Path) -> Any:
    """The contents of a YAML file.

    Raises
    ------
    ConfigError
        The file is missing, no regular file, not YAML, or has a key twice.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # reading a device may never end
            raise ConfigError(f"{path}: expected YAML, found a device or pipe")
        return yaml.load(_text(path), _EachKeyOnce)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected a configuration file, found none there") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{_named(path)}: expected YAML, found {_unreadable(error)}") from error


def _text(path: Path) -> str:
    """The text of a file, if it is no larger than a table or configuration can be."""
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ConfigError(f"{path}: expected text of at most {_MOST_BYTES // 10**6} MB, found {size} bytes")
    return path.read_text(encoding="utf-8-sig")


def _named(path: Path) -> str:
    return _cut(str(path))


class _EachKeyOnce(yaml.SafeLoader):
    """YAML of few levels whose keys stand once: of two equal ones the last would win, and the user is not told."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._level > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {_DEEPEST} levels", None)
        self._level += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.most_common(1):
            if count > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{name}' {count} times", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _unreadable(error: Exception) -> str:
    """What was found instead of readable text, in a line."""
    if isinstance(error, UnicodeDecodeError):
        return f"another encoding (byte {error.start} is no UTF-8); save it as UTF-8"
    if isinstance(error, IsADirectoryError):
        return "a folder"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, RecursionError):
        return "more levels than can be read"
    return _cut(" ".join(str(error).replace('in "<unicode string>", ', "in ").split()))


def _cut(text: str) -> str:
    """A text that a message shows, its end left out where it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def parse_config(raw: Mapping[str, Any], where: str) -> Config:
    """The configuration in a mapping; ``where`` is how messages name its origin."""
    if not isinstance(raw, Mapping):
        kind = "a list" if isinstance(raw, list) else _cut(repr(raw))
        raise ConfigError(f"{where}: expected sections with keys, found {kind}")
    _refuse_unknown(raw, Config, where)
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentences(error)}") from error


def load_scans(config: Config, root: str | Path = ".") -> dict[str, ScanConfig]:
    """Every scan of the scan table, its row's columns laid over the configuration.

    A column is named by its full key (``geometry.energy_kev``) or, where only one section has it, by its last
    part (``energy_kev``). An empty cell overrides nothing. Lines that start with # are comments, and columns named
    name, comment, description, date, operator, remarks or note... are the user's own. Tabs, commas or semicolons stand
    between the columns.

    Raises
    ------
    ConfigError
        The scan table is missing or empty, a column is unknown, a name stands twice, or a value cannot be used.
    """
    path = Path(root) / config.scans
    rows = list(_rows(path))
    if not rows:
        raise ConfigError(f"{path}: expected at least one scan under the header line, found none")
    base = config.model_dump(exclude={"scans", "results"})
    scans: dict[str, ScanConfig] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        name = (row.pop("scan", None) or "").strip()
        if not SCAN_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: expected a scan name of letters, digits, '_', '-' and '.', found '{name}'"
            )
        if name in scans:
            raise ConfigError(f"{where}: expected each scan once, found '{name}' again")
        scans[name] = _scan(base, row, where)
    return scans


def _scan(base: dict[str, Any], row: dict[str, str], where: str) -> ScanConfig:
    values = _copy(base)
    for column, cell in row.items():
        if not cell.strip() or _is_note(column):
            continue
        *sections, key = resolve_key(column, where).split(".")
        target = values
        for section in sections:
            target = target[section]
        try:
            target[key] = yaml.load(cell, _EachKeyOnce)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{where}: expected a value in column '{column}', found {_cut(repr(cell))}"
            ) from error
    try:
        scan = ScanConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentences(error)}") from error
    if problems := coupled_problems(scan):
        raise ConfigError(f"{where}: {'; '.join(problems)}")
    return scan


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path}: expected a tab-separated text file, found a device or pipe")
        lines = _text(path).splitlines()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected the scan table, found no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: expected a tab-separated text file, found {_unreadable(error)}"
        ) from error
    kept = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not kept:
        return
    between = _separator(kept[0][1])
    first = next(csv.reader([kept[0][1].rstrip()], delimiter=between))  # spreadsheets leave tabs at the end
    header = [name.strip() for name in first]
    if "scan" not in header:
        raise ConfigError(
            f"{path}: expected columns between tabs, one of them 'scan', found '{kept[0][1].strip()}'"
        )
    meant = [
        column if column == "scan" or _is_note(column) else resolve_key(column, str(path))
        for column in header
    ]
    for column, key in zip(header, meant, strict=True):
        if meant.count(key) > 1:
            raise ConfigError(f"{path}: expected each column once, found {meant.count(key)} for '{column}'")
    for number, line in kept[1:]:
        cells = next(csv.reader([line.rstrip()], delimiter=between))
        if len(cells) > len(header):
            raise ConfigError(f"{path}, line {number}: expected {len(header)} columns, found {len(cells)}")
        yield number, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _separator(header: str) -> str:
    """What stands between the columns: a tab, or where there is none the comma or semicolon of a spreadsheet."""
    return next((sign for sign in ("\t", ";", ",") if sign in header), "\t")


def _is_note(column: str) -> bool:
    """Whether a column of the scan table is the user's own and sets nothing."""
    return column.lower() in _NOTES or column.lower().startswith("note")


def keys(model: type[BaseModel] = ScanConfig, prefix: str = "") -> list[str]:
    """All full keys of a model, e.g. ``geometry.energy_kev``."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys(kind, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def resolve_key(column: str, where: str) -> str:
    """The full key that a scan table's column means."""
    known = keys()
    if column in known:
        return column
    if column in MOVED:
        raise ConfigError(f"{where}: unknown column '{column}'; it is '{MOVED[column]}' now")
    matches = [key for key in known if key.rsplit(".", 1)[-1] == column]
    # the simulation has a twin of the geometry's keys; a bare name means the measured one
    if len(matches) > 1:
        matches = [key for key in matches if not key.startswith("simulate.")] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(
            f"{where}: expected a full key for column '{column}', found {' and '.join(matches)}"
        )
    short = {key.rsplit(".", 1)[-1]: key for key in known}
    raise ConfigError(f"{where}: unknown column '{column}'{_nearest(column, [*known, *short])}")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(sorted(known))}"


def _refuse_unknown(raw: Mapping[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    for key, value in raw.items():
        field = model.model_fields.get(str(key))
        if field is None:
            if moved := MOVED.get(f"{prefix}{key}"):
                raise ConfigError(f"{where}: unknown key '{prefix}{key}'; it is '{moved}' now")
            raise ConfigError(
                f"{where}: unknown key '{prefix}{key}'{_nearest(str(key), list(model.model_fields))}"
            )
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: expected keys under '{prefix}{key}', found {_cut(repr(value))}")
            _refuse_unknown(value, kind, where, f"{prefix}{key}.")


def _sentences(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        # a union adds the name of each alternative to the path; only keys mean something to the user
        path = ".".join(str(p) for p in problem["loc"] if str(p).isidentifier() and p not in _UNION_TAGS)
        message = problem["msg"].removeprefix("Value error, ")
        found = "" if problem["type"] == "value_error" else f", found {_cut(repr(problem['input']))}"
        parts.append(f"{path}: {message[0].lower()}{_cut(message[1:])}{found}")
    return "; ".join(dict.fromkeys(parts))


_UNION_TAGS = {"int", "float", "str", "bool", "none"}
