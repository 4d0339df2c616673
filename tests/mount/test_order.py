"""Which file comes after which."""

from cadrender.mount.order import Order

TREE = {
    "": ["train/", "valid/"],
    "train": ["a/", "b/", "empty/", "z.wav"],
    "train/a": ["bass.wav", "drums.wav"],
    "train/b": ["bass.wav"],
    "train/empty": [],
    "valid": ["c/"],
    "valid/c": ["vocals.wav"],
}
FILES = ["train/a/bass.wav", "train/a/drums.wav", "train/b/bass.wav", "train/z.wav", "valid/c/vocals.wav"]


def test_after():
    order = Order(TREE.__getitem__)
    for k, file in enumerate(FILES):
        for count in range(6):
            assert order.after(file, count) == FILES[k + 1 : k + 1 + count]


def test_who_goes_on_is_expected_once():
    order = Order(TREE.__getitem__)
    assert not order.expected(FILES[1])
    order.finished(FILES[0])
    assert not order.expected(FILES[2])
    assert order.expected(FILES[1])
    assert not order.expected(FILES[1])
    order.finished(FILES[-1])
