"""The settings of a run: the shipped file in ``conf/``, a user's file, ``key=value`` texts, options."""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cadrender.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_Item = tuple[str, object, str]
"""Key, value, and where it comes from, for messages."""

SPLITS = ("train", "valid", "test")

OWN_FILE = "cadrender.yaml"
"""A root's own settings, in its folder: the keys of ``conf/icassp_2024.yaml``."""

# Places that can be given for a single run: what it writes, and reads of that.
_PLACES = ("path.output_", "path.excerpts_dir")

# Folders that many places start with.
_REFERRED_TO = ("path.root", "path.metadata_dir", "path.music_dir")

# Other keys of the challenge's own configuration: accepted, so that it works here, and unused.
_UNUSED = ("hydra", "path.tracklist_file")

_CONFIG_FILE = "a configuration is one YAML file: use --config FILE"
_ONE_RUN = "one command is one run: run it once for each value; -j N sets the processes of a run"
_NO_HYDRA = "cadrender does not use Hydra; --help lists its own options, such as -j N and --backend dask"

HYDRA_OPTIONS = {
    **dict.fromkeys(("--config-path", "--config-name", "--config-dir", "-c"), _CONFIG_FILE),
    **dict.fromkeys(("-m", "--multirun"), _ONE_RUN),
    **dict.fromkeys(("--cfg", "--resolve", "--package", "--run", "--hydra-help", "--info"), _NO_HYDRA),
}
"""Options of the challenge's own script (Hydra's), and what to use instead."""


@dataclass(frozen=True)
class Settings:
    """The settings of a run, ready to use: every path is absolute, every number checked.

    Attributes
    ----------
    root, metadata_dir, music_dir, hrtf_dir : pathlib.Path
        The root and the folders of the metadata, the songs and the HRIRs.
    scene_file, music_file, head_loudspeaker_positions_file, gains_file : pathlib.Path
        Scenes, songs, positions and gains.
    listeners_file, scene_listeners_file : pathlib.Path
        The listeners, and those of each scene.
    excerpts_file, excerpts_dir : pathlib.Path
        The origin of each excerpt of a split, and the excerpts' own stems.
    output_music_dir, output_music_file : pathlib.Path
        The at-mic music, and its list.
    output_remix_dir, output_remix_listeners_dir, output_remix_file : pathlib.Path
        Rebalanced targets, targets amplified for listeners, and the list of both.
    output_submission_dir : pathlib.Path
        Submissions.
    split : str
        ``train``, ``valid`` or ``test``.
    sample_rate : int
        In Hz.
    number_scenes_per_song, number_listeners_per_scene : int
        How many scenes and scene-listeners are drawn.
    music_files : tuple of pathlib.Path
        All music lists, in order: those that were given, else ``music_file`` and, for training, the lists of all
        ingested corpora.
    given : tuple of (str, str)
        Keys and values of the places that were given for this run only, by an option or ``key=value``.
    """

    root: Path
    metadata_dir: Path
    music_dir: Path
    hrtf_dir: Path
    scene_file: Path
    music_file: Path
    head_loudspeaker_positions_file: Path
    gains_file: Path
    listeners_file: Path
    scene_listeners_file: Path
    excerpts_file: Path
    excerpts_dir: Path
    output_music_dir: Path
    output_music_file: Path
    output_remix_dir: Path
    output_remix_listeners_dir: Path
    output_remix_file: Path
    output_submission_dir: Path
    split: str
    sample_rate: int
    number_scenes_per_song: int
    number_listeners_per_scene: int
    music_files: tuple[Path, ...] = ()
    given: tuple[tuple[str, str], ...] = ()

    @property
    def own_file(self) -> Path:
        """The root's own settings: `OWN_FILE` in its folder."""
        return self.root / OWN_FILE

    def how_to_say(self, place: str) -> str:
        """The option, and the line, that say where the files of a place such as ``output_music_dir`` are."""
        return f"--{place.replace('_', '-')}, or 'path: {{{place}: DIR}}' in {self.own_file}"

    def line_to_keep(self) -> str:
        """The line of the root's own file that would keep the places given for this run; empty for none."""
        import json

        places = {key.removeprefix("path."): _literal(value) for key, value in self.given}
        return f"path: {json.dumps(places, ensure_ascii=False)}" if places else ""


def load_settings(overrides: Sequence[str] = (), *, config: Path | None = None, **options: Any) -> Settings:
    """Read the settings of a run.

    In order of precedence, lowest first: the shipped ``conf/icassp_2024.yaml``, ``ROOT/cadrender.yaml`` if it exists,
    the file `config`, `overrides`, `options`. Relative paths start at the current folder, those of
    ``ROOT/cadrender.yaml`` at the root; ``~`` is the user's home.

    Parameters
    ----------
    overrides : sequence of str
        ``key=value`` with the keys of the file, such as ``path.root=/data/icassp_2024``; ``+key=value`` and
        ``++key=value`` mean the same. A value may refer to another key, as in
        ``path.scene_file=${path.metadata_dir}/mine.json``.
    config : pathlib.Path, optional
        A YAML file with some or all of the keys.
    **options
        Values by the names of `Settings`: ``root``, ``split``, ``output_music_dir``, ... ``None`` means not
        given. ``music_file`` may also be a sequence of paths.

    Raises
    ------
    UsageError
        For an unreadable file, an unknown key (similar ones are listed), a value of the wrong type, or a missing
        value.

    Examples
    --------
    >>> load_settings(["path.root=/data", "split=valid"]).scene_file
    PosixPath('/data/metadata/scenes.valid.json')
    """
    import importlib.resources

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    shipped = importlib.resources.files("cadrender") / "conf" / "icassp_2024.yaml"
    settings: Any = OmegaConf.create(shipped.read_text(encoding="utf-8"))
    shipped_tree: Any = OmegaConf.to_container(settings)
    known = [key for key, _ in _leaves(shipped_tree)]
    named = {key.rpartition(".")[2]: key for key in known}

    given = _read_config(Path(config), known) if config is not None else []
    given += [item for text in overrides for item in _read_override(text, known)]
    lists: tuple[Path, ...] = ()
    for name, value in options.items():
        if name not in named:
            raise TypeError(f"load_settings() got an unexpected keyword argument {name!r}")
        if name == "music_file" and isinstance(value, list | tuple):
            lists = tuple(value)
            value = lists[0] if lists else None
        if value is not None:
            # Options are literal: "${" in a folder's name is not a reference to another key.
            value = _literal(str(value))
            given.append((named[name], value, ""))

    own = _read_own(settings, [*given], known)
    origins = {}
    for key, value, origin in [*own, *given]:
        try:
            OmegaConf.update(settings, key, value)
        except OmegaConfBaseException as error:
            raise UsageError(
                f"{origin}{key}={_short(value)} is not a usable value: {_line(error)}"
            ) from error
        origins[key] = origin

    values: dict[str, Any] = {}
    for field in fields(Settings):
        if field.name in ("music_files", "given"):
            continue
        key = named[field.name]
        value = _resolved(settings, key)
        if key in _REFERRED_TO and isinstance(value, str):  # from now on they need not be resolved again
            OmegaConf.update(settings, key, _literal(value))
        origin = origins.get(key, "")
        if field.type is Path:
            values[field.name] = _as_path(value, key, origin)
        elif field.type is int:
            values[field.name] = _as_count(value, key, origin)
        elif value not in SPLITS:
            raise UsageError(f"{origin}{key}={_short(value)} is none of {', '.join(SPLITS)}")
        else:
            values[field.name] = value
    music_files = (values["music_file"], *(_as_path(str(file), "path.music_file", "") for file in lists[1:]))
    if named["music_file"] not in origins and values["split"] == "train":
        music_files = _with_ingested(values["music_file"], values["metadata_dir"])
    places = {
        key: str(values[key.rpartition(".")[2]])
        for key, _, origin in given
        if not origin and key.startswith(_PLACES)
    }
    return Settings(**values, music_files=music_files, given=tuple(places.items()))


def _read_own(settings: "DictConfig", given: Sequence[_Item], known: list[str]) -> list[_Item]:
    """The root's own settings, if a root is given; their relative paths start there."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    trial = settings.copy()
    with contextlib.suppress(OmegaConfBaseException):  # errors are reported later
        for key, value, _ in given:
            OmegaConf.update(trial, key, value)
        root = Path(OmegaConf.select(trial, "path.root", throw_on_missing=True)).expanduser().absolute()
        file = root / OWN_FILE
        if not file.exists():
            return []
        own = _read_config(file, known)
        if any(key == "path.root" for key, _, _ in own):
            raise UsageError(f"{file}: path.root cannot be set here: it is this file's folder")
        return [(key, _under(root, key, value), origin) for key, value, origin in own]
    return []


def _literal(text: str) -> str:
    """Escape a text for OmegaConf: what looks like a reference to another key is none."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def _under(root: Path, key: str, value: object) -> object:
    """A path below the root, unless it is absolute, refers to another key or is in a user's home."""
    if not key.startswith("path.") or not isinstance(value, str) or value.startswith(("/", "~", "$")):
        return value
    return _literal(str(root / value)) if "${" not in value else value


def ingested_lists(metadata_dir: Path) -> tuple[Path, ...]:
    """The music lists of a root's ingested corpora, by name."""
    reports = sorted(metadata_dir.glob("*.ingest.json"))
    lists = (report.with_name(report.name.removesuffix(".ingest.json") + ".json") for report in reports)
    return tuple(file for file in lists if file.exists())


def _with_ingested(music_file: Path, metadata_dir: Path) -> tuple[Path, ...]:
    """The root's own music list, if there is one, and those of its corpora."""
    ingested = ingested_lists(metadata_dir)
    return ingested if ingested and not music_file.exists() else (music_file, *ingested)


def _leaves(tree: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The dotted key and the value of every leaf of nested dicts."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_config(file: Path, known: list[str]) -> list[_Item]:
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot read the configuration: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text: bad byte at offset {error.start}") from error
    try:
        tree = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "bad YAML"
        raise UsageError(f"{file}: not valid YAML: {_line(problem)}{place}") from error
    except (OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not a usable configuration: {_line(error)}") from error
    if not isinstance(tree, dict):
        raise UsageError(
            f"{file}: the configuration must be a mapping of keys such as path: and sample_rate:"
        )
    return [
        (_check_key(key, known, str(file)), value, f"{file}: ")
        for key, value in _leaves(tree)
        if not _is_unused(key)
    ]


def _read_override(text: str, known: list[str]) -> list[_Item]:
    if text.startswith("~"):
        raise UsageError(
            f"argument {_short(text)}: a key cannot be removed; leave it out for its default, or use key=value"
        )
    plain = text.removeprefix("+").removeprefix("+")  # Hydra's "add" and "add or replace"
    key, equals, value = plain.partition("=")
    if key.startswith("hydra/"):
        raise UsageError(f"argument {_short(text)}: {_NO_HYDRA}")
    if not equals:
        raise UsageError(f"argument {_short(text)} is not of the form key=value, such as path.root=DIR")
    if _is_unused(key):
        return []
    # The official script reads overrides with Hydra, where a value with commas or braces is quoted.
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return [(_check_key(key, known, f"argument {_short(text)}"), value, "")]


def _is_unused(key: str) -> bool:
    return any(key == unused or key.startswith(f"{unused}.") for unused in _UNUSED)


def _check_key(key: str, known: list[str], origin: str) -> str:
    if key not in known:
        raise UsageError(f"{origin}: unknown key {_short(key)}{_near(key, known)}")
    return key


def _near(key: str, known: list[str]) -> str:
    """The keys that are similar to `key`, by their whole names or their last parts; all of them if none is."""
    import difflib

    last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    near += [last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], last, n=3, cutoff=0.6)]
    if near:
        return f"; near ones: {', '.join(dict.fromkeys(near))}"
    return f"; known ones: {', '.join(known)}"


def _resolved(settings: "DictConfig", key: str) -> object:
    from omegaconf import OmegaConf
    from omegaconf.errors import (
        InterpolationToMissingValueError,
        MissingMandatoryValue,
        OmegaConfBaseException,
    )

    try:
        return OmegaConf.select(settings, key, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        missing = "path.root" if OmegaConf.is_missing(settings.path, "root") else key
        hint = "--root DIR or path.root=DIR" if missing == "path.root" else f"{missing}=VALUE"
        raise UsageError(f"{missing} is not set: use {hint}") from error
    except (OmegaConfBaseException, RecursionError) as error:
        raise UsageError(f"{key}: cannot be resolved: {_line(error)}") from error


def _as_path(value: object, key: str, origin: str) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{origin}{key}={_short(value)} is not a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{origin}{key}={_short(value)}: unknown user") from error


def _as_count(value: object, key: str, origin: str) -> int:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UsageError(f"{origin}{key}={_short(value)} is not a whole number from 1 to 999999999")
    return int(text)


def _short(value: object) -> str:
    """A value in a message: on one line, and cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _line(error: object) -> str:
    return " ".join(str(error).split("\n")[0].split())
