"""What a studio does to tracks: placing, filtering, echo, reverberation, limiting. Float64, 44 100 Hz.

A track is an array of shape (2, frames): left and right.
"""

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

RATE = 44100


def place(track, seconds, signal, pan=0.0, gain=1.0):
    """Add a signal to a track at a time; what reaches past the end is cut.

    ``signal`` is mono of shape (n,) and then panned with equal power from -1, left, to 1, right; or stereo of
    shape (2, n), which ``pan`` only balances. The centre is at unit gain.
    """
    start = round(seconds * RATE)
    sides = (pan + 1) * np.pi / 4
    for side, weight in enumerate((np.cos(sides), np.sin(sides))):
        add(track[side], start, signal if signal.ndim == 1 else signal[side], np.sqrt(2) * weight * gain)


def add(channel, start, signal, gain=1.0):
    """Add a mono signal to one channel from a frame on; what reaches past the end is cut."""
    piece = channel[start : start + len(signal)]
    piece += gain * signal[: len(piece)]


def edges(frames, attack, release):
    """Return an envelope of ones that rises and falls by raised cosines, lengths in seconds: no clicks."""
    envelope = np.ones(frames)
    rise = min(int(attack * RATE), frames // 2)
    fall = min(int(release * RATE), frames - rise)
    envelope[:rise] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / max(rise, 1))
    envelope[frames - fall :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / max(fall, 1))
    return envelope


def lowpass(signal, corner, order=2):
    """Return the signal without what lies above the corner frequency in Hz."""
    return sosfilt(butter(order, corner, "low", fs=RATE, output="sos"), signal, axis=-1)


def highpass(signal, corner, order=2):
    """Return the signal without what lies below the corner frequency in Hz."""
    return sosfilt(butter(order, corner, "high", fs=RATE, output="sos"), signal, axis=-1)


def bandpass(signal, low, high, order=2):
    """Return what lies between two frequencies in Hz."""
    return sosfilt(butter(order, (low, high), "band", fs=RATE, output="sos"), signal, axis=-1)


def shelf(signal, corner, decibels):
    """Lift or lower what lies above the corner frequency in Hz."""
    return signal + (10 ** (decibels / 20) - 1) * highpass(signal, corner, 1)


def saturate(signal, drive):
    """Bend the peaks as tape and valves do; small signals pass unchanged."""
    return np.tanh(drive * signal) / drive


class Room:
    """A room's reverberation, ready for signals of one length.

    Its tail is noise that decays by 60 dB in ``seconds`` below 2.5 kHz and in ``bright`` of that above: air
    and curtains swallow the treble.
    """

    def __init__(self, rng, seconds, frames, *, predelay=0.012, bright=0.35):
        count = int(seconds * RATE)
        time = np.arange(count) / RATE
        noise = rng.standard_normal((2, count))
        dark = lowpass(noise, 2500, 1)
        tail = dark * 10 ** (-3 * time / seconds) + (noise - dark) * 10 ** (-3 * time / (bright * seconds))
        tail = highpass(tail, 160, 1) * edges(count, 0.004, 0.3)
        tail /= np.sqrt((tail**2).sum() / 2)
        tail = np.pad(tail, ((0, 0), (int(predelay * RATE), 0)))
        self._size = next_fast_len(frames + tail.shape[1], real=True)
        self._sides = [rfft(side, self._size) for side in tail]

    def answer(self, track, send):
        """Add to a track what the room makes of a mono signal as long as the track."""
        heard = rfft(send, self._size)
        for channel, side in zip(track, self._sides, strict=True):
            channel += irfft(heard * side, self._size, overwrite_x=True)[: len(send)]


def compress(signal, ratio, seconds=0.08):
    """Even out a mono signal's loudness: what changes by ``ratio`` decibels then changes by one."""
    power = uniform_filter1d(uniform_filter1d(signal**2, int(seconds * RATE)), int(seconds * RATE) // 2)
    usual = power[power > 0.01 * power.max()].mean() if power.any() else 1.0
    # rests are not lifted
    return signal * np.maximum(power / usual, 0.15) ** (0.5 / ratio - 0.5)


def echo(track, seconds, amount, repeats=3):
    """Return the track with echoes that change sides and fade."""
    result = track.copy()
    mono = lowpass(0.5 * (track[0] + track[1]), 3000, 1)
    for number in range(1, repeats + 1):
        add(result[number % 2], round(number * seconds * RATE), mono, amount**number)
    return result


def level(track, target, floor=1e-3):
    """Scale a track in place to a root mean square of ``target`` over the tenths of a second that sound."""
    tenths = track[:, : track.shape[1] // 4410 * 4410].reshape(2, -1, 4410)
    power = np.einsum("sbf,sbf->b", tenths, tenths) / (2 * 4410)
    track *= target / np.sqrt(power[power > floor**2 * power.max()].mean())


def limiter(mixture, ceiling):
    """Return the gain, shape (frames,), that keeps a mixture under a ceiling without being heard.

    Applied to every stem alike it leaves the mixture the sum of its stems.
    """
    peak = np.abs(mixture).max(axis=0)
    wanted = np.minimum(1.0, ceiling / np.maximum(peak, ceiling))
    half = 1102
    held = minimum_filter1d(wanted, 4 * half + 1, mode="nearest")
    # two running means whose joint reach is that of the minimum: the gain never exceeds what is wanted
    for _ in range(2):
        held = uniform_filter1d(held, 2 * half + 1, mode="nearest")
    return held
