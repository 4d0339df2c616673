"""MP3 files that do not say how long they are.

libsndfile believes the frame count in the Xing, Info or VBRI header of an MP3 file. Where there is none it
reckons with the first frame's bit rate and stops where that leads, which cuts a file of variable bit rate
short without a word. Such a file gets a header here.

Frame headers: ISO/IEC 11172-3 and 13818-3, 2.4.2.3, and the customary extension to 8 to 12 kHz, "MPEG 2.5".
"""

from dataclasses import dataclass
from pathlib import Path

# kbit/s by bit rate index: MPEG 1 and MPEG 2, layer III
_BIT_RATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_LAYER_3 = 1
_MONO = 3
_ROOMY = 9  # a bit rate index whose frames have room for a Xing header at any rate
_VBRI_OFFSET = 36
_HAS_FRAME_COUNT = 1
_BEGINNING = 1 << 16  # bytes in which the first frame is looked for


@dataclass(frozen=True)
class _Frame:
    """The header of an MPEG frame, layer III."""

    version: int
    rate: int
    mono: bool
    length: int

    @property
    def side_info(self) -> int:
        """The offset of what follows the side information, where a Xing header stands."""
        if self.version == 3:
            return 4 + (17 if self.mono else 32)
        return 4 + (9 if self.mono else 17)


def with_length(path: Path) -> bytes | None:
    """Return an MP3 file with a Xing header that says how many frames it has.

    Parameters
    ----------
    path : pathlib.Path
        An MP3 file.

    Returns
    -------
    bytes or None
        The file's content from its first frame on, after the header; None if the file has one of its own.
    """
    with path.open("rb") as file:
        tag = _id3_length(file.read(10))
        file.seek(tag)
        beginning = file.read(_BEGINNING)
    start = _next_frame(beginning, 0)
    frame = _frame_at(beginning, start)
    if frame is None or _has_length(beginning, start, frame):
        return None
    data = path.read_bytes()
    start += tag
    return _xing_frame(data[start : start + 4], frame, _count_frames(data, start, frame)) + data[start:]


def _id3_length(head: bytes) -> int:
    if head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _frame_at(data: bytes, position: int) -> _Frame | None:
    head = data[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != _LAYER_3 or bit_rate in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    slots = (144_000 if version == 3 else 72_000) * _BIT_RATES[version == 3][bit_rate] // hertz
    return _Frame(version, rate, head[3] >> 6 == _MONO, slots + (head[2] >> 1 & 1))


def _next_frame(data: bytes, position: int) -> int:
    """Return where the next frame starts that another frame or the end follows; the end if there is none."""
    while (position := data.find(b"\xff", position)) >= 0:
        frame = _frame_at(data, position)
        if frame and (position + frame.length >= len(data) or _frame_at(data, position + frame.length)):
            return position
        position += 1
    return len(data)


def _has_length(data: bytes, start: int, frame: _Frame) -> bool:
    marks = (data[start + frame.side_info :][:4], data[start + _VBRI_OFFSET :][:4])
    return marks[0] in (b"Xing", b"Info") or marks[1] == b"VBRI"


def _count_frames(data: bytes, position: int, first: _Frame) -> int:
    frames = 0
    while position < len(data):
        frame = _frame_at(data, position)
        if frame and (frame.version, frame.rate) == (first.version, first.rate):
            frames += 1
            position += frame.length
        else:
            position = _next_frame(data, position + 1)
    return frames


def _xing_frame(head: bytes, frame: _Frame, frames: int) -> bytes:
    """Make a silent frame like the first one, without padding and checksum, that holds `frames`."""
    head = bytes((head[0], head[1] | 1, _ROOMY << 4 | frame.rate << 2, head[3]))
    tag = b"Xing" + _HAS_FRAME_COUNT.to_bytes(4) + frames.to_bytes(4)
    return (head + bytes(frame.side_info - 4) + tag).ljust(_frame_at(head, 0).length, b"\0")
