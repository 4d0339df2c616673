"""``python -m benchmarks.hrir_lengths``: how time grows with HRIR length, as a figure.

One core, four scenes per song, files included. Everything is measured in turns on temporary roots: the engine and the
libraries on one thirty-second stem; the reference, whose cost grows with HRIR length, on shorter ones.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import markdown, rivals, script
from benchmarks.machine import medians, timed
from benchmarks.roots import make_places, make_root, plan_of
from cadrender.pipeline.commit import run_batch

TAPS = (64, 128, 256, 384, 512, 820, 1024, 2048, 4096, 8192)

_SCENES = 4
_CONTENDERS = {
    "reference (lfilter, pyloudnorm)": rivals.by_reference,
    "oaconvolve, pyloudnorm": rivals.by_oaconvolve_pyloudnorm,
    "oaconvolve, libloudness": rivals.by_oaconvolve_libloudness,
    "cadrender": run_batch,
    "plain copy of the same bytes": rivals.by_copying,
}
# Offsets in points for labels of curves that end side by side.
_NUDGES = {"oaconvolve, pyloudnorm": 5, "oaconvolve, libloudness": -5}
_COLOURS = ("#7f7f7f", "#e08214", "#b35806", "#2166ac", "#bbbbbb")


def measure(
    folder: Path, lengths: Sequence[int], seconds: float, repeats: int
) -> dict[int, dict[str, float]]:
    """Nanoseconds per frame-scene by HRIR length and contender; medians."""
    contenders: dict[tuple[int, str], Callable[[], float]] = {}
    for taps in lengths:
        root = make_root(folder / f"{taps}", seconds=seconds, scenes=_SCENES, taps=taps)
        short = max(1.0, min(seconds, seconds * 128 / taps))
        short_root = make_root(folder / f"{taps}-short", seconds=short, taps=taps)
        for name, rival in _CONTENDERS.items():
            slow = rival is rivals.by_reference

            def run(rival=rival, root=short_root if slow else root, scenes=1 if slow else _SCENES):
                batch = plan_of(root, folder / "output", stems=["mixture"]).batches[0]
                batch = batch.having(batch.outputs[:scenes])
                make_places([batch])
                return 1e9 * timed(lambda: rival(batch))() / batch.frame_scenes

            run()
            contenders[taps, name] = run
    found = medians(contenders, repeats)
    return {taps: {name: found[taps, name] for name in _CONTENDERS} for taps in lengths}


def draw(found: dict[int, dict[str, float]], caption: str, file: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    taps = sorted(found)
    figure, axes = pyplot.subplots(figsize=(8, 5.2), layout="constrained")
    for name, colour in zip(_CONTENDERS, _COLOURS, strict=True):
        ours = name == "cadrender"
        axes.plot(
            taps,
            [found[n][name] for n in taps],
            color=colour,
            linewidth=2.6 if ours else 1.6,
            marker="o",
            markersize=5 if ours else 3.5,
            linestyle=":" if name.startswith("plain") else "-",
            zorder=3 if ours else 2,
        )
        axes.annotate(
            name,
            (taps[-1], found[taps[-1]][name]),
            xytext=(7, _NUDGES.get(name, 0)),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
            fontweight="bold" if ours else "normal",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(taps, [str(n) for n in taps], rotation=45)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("taps of the HRIRs")
    axes.set_ylabel("ns per frame and scene, one core, files included")
    axes.grid(True, which="major", color="#e6e6e6")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, -0.03, caption, fontsize=7, color="#666666", va="top", wrap=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, bbox_inches="tight", metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the numbers, and draw."""
    options = script.parser(__doc__, repeats=5)
    options.add_argument("--taps", type=int, nargs="+", default=TAPS)
    options.add_argument("--seconds", type=float, default=30.0, help="length of the stem")
    options.add_argument(
        "--output",
        type=Path,
        default=markdown.HOME / "docs" / "figures" / "hrir_length.png",
        help="the figure",
    )
    given = script.parse(options, arguments, repeats=1, taps=(64, 384), seconds=2.0, output=None)
    with script.workplace(given.folder) as folder:
        found = measure(folder, given.taps, given.seconds, given.repeats)
        caption = script.conditions(folder, "hrir_lengths", f"{_SCENES} scenes a song; start-up not counted.")
        draw(found, caption, given.output or folder / "hrir_length.png")
    for taps, by_name in found.items():
        print(f"{taps} taps:", ", ".join(f"{name} {ns:.1f}" for name, ns in by_name.items()))


if __name__ == "__main__":
    main()
