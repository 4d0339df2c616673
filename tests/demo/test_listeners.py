import numpy as np

from cadrender.demo.listeners import FREQUENCIES, STANDARD_AUDIOGRAMS, make_listeners


def test_listeners_are_plausible():
    listeners = make_listeners()
    assert [listener.id for listener in listeners] == [f"L{number:04d}" for number in range(1, 84)]
    left = np.array([listener.levels_left for listener in listeners])
    right = np.array([listener.levels_right for listener in listeners])
    assert all(listener.cfs == FREQUENCIES for listener in listeners)
    for levels in (left, right):
        assert levels.shape == (83, len(FREQUENCIES))
        assert (levels % 5 == 0).all()
        assert levels.min() >= -10
        assert levels.max() <= 110
        # hearing is worse at high frequencies, as it is in nearly everybody
        assert (levels[:, -1] > levels[:, 0]).mean() > 0.95
    assert np.abs(left - right).max() <= 25
    assert 2 < np.abs(left - right).mean() < 8


def test_listeners_are_always_the_same_and_more_keep_the_first():
    assert make_listeners(40) == make_listeners(83)[:40]


def test_standard_audiograms_are_sloping_or_flat():
    for levels in STANDARD_AUDIOGRAMS.values():
        assert len(levels) == 7
        assert list(levels) == sorted(levels)
