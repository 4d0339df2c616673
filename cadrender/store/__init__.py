"""Audio files in and out: read with checks, written whole or not at all."""

from cadrender.store.atomic import AtomicFile, ClaimedError, is_claimed, remove_leftovers
from cadrender.store.audio import AudioFormat, Header, read_header, read_hrir, read_stem
from cadrender.store.writing import AudioWriter, is_complete

__all__ = [
    "AtomicFile",
    "AudioFormat",
    "AudioWriter",
    "ClaimedError",
    "Header",
    "is_claimed",
    "is_complete",
    "read_header",
    "read_hrir",
    "read_stem",
    "remove_leftovers",
]
