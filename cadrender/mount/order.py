"""Programs that read files in order, as ``cp -r`` does: which files they will want next."""

import bisect
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

# Most files expected next: as many programs can be followed at once.
_MOST = 64


class Order:
    """The order of a tree's files, and the programs following it.

    Parameters
    ----------
    names : callable
        The names in a folder, in order; those of folders end with ``/``.
    """

    def __init__(self, names: Callable[[str], Sequence[str]]) -> None:
        self._names = names
        self._expected: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def finished(self, path: str) -> None:
        """Note that a file has been read from start to end."""
        following = self.after(path, 1)
        with self._lock:
            self._expected.update(dict.fromkeys(following))
            while len(self._expected) > _MOST:
                self._expected.popitem(last=False)

    def expected(self, path: str) -> bool:
        """Whether a file being opened follows one that was finished; true only once."""
        with self._lock:
            return self._expected.pop(path, self) is None

    def after(self, path: str, count: int) -> list[str]:
        """The next files of the tree, at most ``count``."""
        found: list[str] = []
        folder, _, name = path.rpartition("/")
        while len(found) < count:
            names = self._names(folder)
            place = bisect.bisect_right(names, name)
            if place < len(names):
                name = names[place]
                if name.endswith("/"):
                    folder, name = f"{folder}/{name[:-1]}".strip("/"), ""
                else:
                    found.append(f"{folder}/{name}")
            elif folder:
                folder, _, name = folder.rpartition("/")
                name += "/"
            else:
                break
        return found
