"""Excerpts of a split from the draw to their at-mic music: what ``cadrender excerpts`` does."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cadrender.catalogue import AtMicCatalogue, ExcerptCatalogue
from cadrender.catalogue.excerpts import Recipe, draw
from cadrender.catalogue.songs import check_hrirs, select_songs
from cadrender.config import Settings
from cadrender.errors import UsageError
from cadrender.metadata import holds, write_all
from cadrender.pipeline.plan import Plan, make_plan
from cadrender.pipeline.shards import Shard
from cadrender.stems import STEMS
from cadrender.store import AudioFormat

__all__ = ["ExcerptWork", "Recipe", "plan_excerpts"]


@dataclass(frozen=True)
class ExcerptWork:
    """Excerpts that were drawn, and what of them is to be cut.

    Attributes
    ----------
    drawn : ExcerptCatalogue
    cuts : Plan
        Of their stems.
    foreign : frozenset of pathlib.Path
        At-mic files under their names that nothing says are theirs; they are rendered again.
    songs : set of str or None
        The songs of this run's shard; None for all.
    """

    drawn: ExcerptCatalogue
    cuts: Plan
    foreign: frozenset[Path]
    songs: Collection[str] | None

    def write_metadata(self, *, keep: bool = True) -> dict[Path, Path]:
        """Write the draw's scenes, excerpts and scene-listeners where they differ from what is there.

        Parameters
        ----------
        keep : bool
            Whether former files are kept under numbered names.

        Returns
        -------
        dict
            Metadata file to its backup, for those that were kept.

        Raises
        ------
        CadrenderError
            If something cannot be written.
        """
        changed = {file: text for file, text in self.drawn.metadata.items() if not holds(file, text)}
        return write_all(changed, keep=keep)

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
            As :class:`cadrender.catalogue.AtMicCatalogue` has them.
        """
        catalogue = AtMicCatalogue(
            self.drawn.settings, audio_format=audio_format, songs=songs, stems=stems, only=self.songs
        )
        replaced = {
            file
            for output in self.cuts.todo
            if self.cuts.shares[0].reasons[output.file].replaces
            for file in self.drawn.at_mic_files(output.name)
        }
        return make_plan(
            catalogue, again=self.foreign | replaced, shard=self.cuts.shard, shard_songs=self.songs
        )


def plan_excerpts(
    settings: Settings,
    recipe: Recipe,
    *,
    songs: Sequence[str] = (),
    force: bool = False,
    shard: Shard | None = None,
) -> ExcerptWork:
    """Draw the excerpts of a split and find out what of them is to be cut; nothing is written.

    Parameters
    ----------
    settings : Settings
        Of the split that the excerpts are for; its music list names the songs.
    recipe : Recipe
    songs : sequence of str
        Shell patterns of the songs that will be rendered, to be checked.
    force : bool
        Take at-mic files of unknown origin for stale ones.
    shard : Shard, optional
        Only this part of the work, in whole songs.

    Raises
    ------
    UsageError
        If the recipe cannot be followed, or there are at-mic files under an excerpt's name that nothing says are its.
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
            f"{foreign[0]}: exists, and {settings.excerpts_file} does not say that it is this excerpt: "
            "--force replaces it"
        )
    mine = shard.songs(drawn.batches()) if shard else None
    return ExcerptWork(drawn, make_plan(drawn, shard=shard, by_song=True), frozenset(foreign), mine)
