"""Excerpts of a split from the draw to their at-mic music: what ``cadrender excerpts`` does."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.excerpts import ExcerptCatalogue, Recipe, draw
from cadrender.catalogue.songs import check_hrirs, matches, select_songs
from cadrender.config import Settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.writing import holds, write_all
from cadrender.pipeline.plan import Plan, check_free, make_plan
from cadrender.pipeline.shards import Shard
from cadrender.signals.at_mic import AtMic
from cadrender.signals.excerpt import ExcerptStem
from cadrender.stems import STEMS
from cadrender.store import AudioFormat, is_complete
from cadrender.store.manifest import Manifest, key_of

__all__ = ["ExcerptWork", "Recipe", "plan_excerpts"]


@dataclass(frozen=True)
class ExcerptWork:
    """Excerpts that were drawn, and the plan to cut them.

    Attributes
    ----------
    drawn : ExcerptCatalogue
    cuts : Plan
        Of their stems.
    foreign : frozenset of pathlib.Path
        At-mic files with their names but of unknown origin; they are rendered again.
    songs : set of str or None
        The songs of this run's shard; None for all.
    """

    drawn: ExcerptCatalogue
    cuts: Plan
    foreign: frozenset[Path]
    songs: Collection[str] | None

    def write_metadata(self, *, keep: bool = True) -> dict[Path, Path]:
        """Write the drawn scenes, excerpts and scene-listeners where they differ from the present files.

        At-mic files of other excerpts that are not in the manifest are removed first, as they could no longer be told
        from those of these excerpts.

        Parameters
        ----------
        keep : bool
            Whether to keep former files as numbered backups.

        Returns
        -------
        dict
            Metadata file to its backup.

        Raises
        ------
        CadrenderError
            If something cannot be written or removed.
        """
        self._remove_unrecorded()
        changed = {file: text for file, text in self.drawn.metadata.items() if not holds(file, text)}
        return write_all(changed, keep=keep)

    def at_mic_to_come(
        self,
        *,
        audio_format: AudioFormat | None = None,
        songs: Sequence[str] = (),
        stems: Sequence[str] = STEMS,
    ) -> tuple[int, int]:
        """The number of at-mic files to render, and their bytes, before anything has been written.

        Parameters
        ----------
        audio_format, songs, stems
            As for :meth:`plan_at_mic`.
        """
        settings, again = self.drawn.settings, self._again()
        records = Manifest.beside(settings.output_music_file, settings.root).read()
        tracks = {sample.name: sample.track.name for sample in self.drawn.samples}
        count = size = 0
        for output in self.cuts.shares[0].selected:
            signal = output.signal
            assert isinstance(signal, ExcerptStem)
            if signal.stem not in stems or not matches(tracks[output.unit], songs):
                continue
            record = records.get(key_of(AtMic.product, output.name))
            recorded = AudioFormat(record.container, record.subtype) if record else AudioFormat()
            wanted = audio_format.over(recorded) if audio_format else recorded
            file = (settings.output_music_dir / output.name).with_suffix(f".{wanted.container}")
            if file in again or not is_complete(file, signal.frames, signal.samplerate, wanted):
                count += 1
                size += 44 + signal.frames * wanted.bytes_per_frame
        return count, size

    def check_space(self, at_mic_bytes: int) -> None:
        """Compare what will be cut and rendered with the free space of the disks.

        Parameters
        ----------
        at_mic_bytes : int
            From :meth:`at_mic_to_come`.

        Raises
        ------
        CadrenderError
            If it does not fit.
        """
        for folder in (self.drawn.settings.excerpts_dir, self.drawn.settings.output_music_dir):
            check_free(folder, self.cuts.bytes + at_mic_bytes)

    def plan_at_mic(
        self,
        *,
        audio_format: AudioFormat | None = None,
        songs: Sequence[str] = (),
        stems: Sequence[str] = STEMS,
    ) -> Plan:
        """Plan the at-mic music of the excerpts, once their metadata are written and their stems cut.

        Parameters
        ----------
        audio_format, songs, stems
            See :class:`cadrender.catalogue.at_mic.AtMicCatalogue`.
        """
        catalogue = AtMicCatalogue(
            self.drawn.settings, audio_format=audio_format, songs=songs, stems=stems, only=self.songs
        )
        return make_plan(catalogue, again=self._again(), shard=self.cuts.shard, shard_songs=self.songs)

    def _remove_unrecorded(self) -> None:
        settings = self.drawn.settings
        records = Manifest.beside(settings.output_music_file, settings.root).read()
        for file in self._again():
            name = file.relative_to(settings.output_music_dir).as_posix()
            if key_of(AtMic.product, name) not in records:
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    raise CadrenderError(f"{file}: cannot be removed: {error.strerror or error}") from error

    def _again(self) -> frozenset[Path]:
        """At-mic files that may exist and are not of these excerpts."""
        replaced = {
            file
            for output in self.cuts.todo
            if self.cuts.shares[0].reasons[output.file].replaces
            for file in self.drawn.at_mic_files(output.name)
        }
        return self.foreign | replaced


def plan_excerpts(
    settings: Settings,
    recipe: Recipe,
    *,
    songs: Sequence[str] = (),
    force: bool = False,
    shard: Shard | None = None,
) -> ExcerptWork:
    """Draw the excerpts of a split and plan what is to be cut; nothing is written.

    Parameters
    ----------
    settings : Settings
        Of the excerpts' split; its music list names the songs.
    recipe : Recipe
    songs : sequence of str
        Shell patterns of the songs to render; they are checked.
    force : bool
        Replace at-mic files of unknown origin.
    shard : Shard, optional
        The share of the work, in whole songs.

    Raises
    ------
    UsageError
        If the recipe cannot be followed, or there are at-mic files of unknown origin with an excerpt's name.
    MetadataError
        If a metadata file breaks its contract, or an HRIR cannot be used.
    """
    drawn = draw(settings, recipe)
    if drawn.excerpts:
        select_songs({excerpt.track.name for excerpt in drawn.excerpts}, songs)
    check_hrirs(settings, drawn.samples)
    foreign = drawn.of_unknown_origin(force=force)
    if foreign and not force:
        raise UsageError(
            f"{foreign[0]}: already exists, and {settings.excerpts_file} does not name it as this excerpt's "
            "(use --force to replace it)"
        )
    mine = shard.songs(drawn.batches()) if shard else None
    return ExcerptWork(drawn, make_plan(drawn, shard=shard, by_song=True), frozenset(foreign), mine)
