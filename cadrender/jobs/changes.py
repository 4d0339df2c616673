"""Whether at-mic files are still what their sources would give: by size and time, then by digest."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cadrender.errors import AudioError
from cadrender.jobs.stem import StemJob, Target
from cadrender.store.manifest import Entry, Input, look_at_input, relative_name


class Inputs:
    """The sources and HRIRs as they are now; each file is looked at once.

    Parameters
    ----------
    digested : dict, optional
        Path to Input, or to None for a file that cannot be read: what has been digested already. A file in it is
        known by its digest, whatever its size and time say.
    """

    def __init__(self, digested: dict[Path, Input | None] | None = None):
        self._stats = {}
        self._digests = dict(digested or {})

    def now(self, file: Path, folder: Path, known: Input) -> Input | None:
        """What a file is now: `known` itself if it looks unchanged, None if it cannot be read.

        Parameters
        ----------
        file, folder : pathlib.Path
            The file, and what its name in the manifest is relative to.
        known : Input
            What it was.
        """
        if file in self._digests:
            return self._digests[file]
        size, mtime_ns = self._stat(file)
        if (relative_name(file, folder), size, mtime_ns) == (known.path, known.bytes, known.mtime_ns):
            return known
        if size != known.bytes:  # another file for certain: no need to read it
            return Input(relative_name(file, folder), size, mtime_ns, "")
        try:
            self._digests[file] = look_at_input(file, folder)
        except AudioError:
            self._digests[file] = None
        return self._digests[file]

    def _stat(self, file):
        if file not in self._stats:
            try:
                status = file.stat()
                self._stats[file] = status.st_size, status.st_mtime_ns
            except OSError:
                self._stats[file] = -1, -1
        return self._stats[file]


def compare_inputs(job: StemJob, targets: Iterable[Target], entries: dict[str, Entry], inputs: Inputs):
    """Sort out which complete files were made from something else than is there now.

    Parameters
    ----------
    job : StemJob
        What they would be rendered from today.
    targets : iterable of Target
        Files that are complete on disk. One without an entry is taken as it is.
    entries : dict
        The manifest.
    inputs : Inputs
        Shared by all calls.

    Returns
    -------
    changed : list of (Target, pathlib.Path)
        Files to render again, and the input that changed.
    touched : list of Entry
        New lines for files whose inputs have another time, or another name, and the same bytes.
    """
    changed, touched = [], []
    for target in targets:
        entry = entries.get(relative_name(target.file, job.manifest.output_dir))
        if entry is None:
            continue
        now = {}
        same_excerpt = (entry.start, entry.frames) == (job.start, job.frames)
        cause = None if same_excerpt else job.source
        for field, file, folder in (
            ("source", job.source, job.manifest.music_dir),
            ("left_hrir", target.left_hrir, job.manifest.hrtf_dir),
            ("right_hrir", target.right_hrir, job.manifest.hrtf_dir),
        ):
            known = getattr(entry, field)
            now[field] = inputs.now(file, folder, known)
            if cause is None and (now[field] is None or now[field].digest != known.digest):
                cause = file
        if cause is not None:
            changed.append((target, cause))
        elif (renewed := replace(entry, **now)) != entry:
            touched.append(renewed)
    return changed, touched
