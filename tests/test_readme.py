"""What the README shows must work as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from cadrender.demo import make_root

ROOT = Path(__file__).parent.parent


def test_python_examples_run_beside_a_demo_folder(tmp_path):
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    make_root(tmp_path / "cadrender-demo", songs=1, subjects=2)
    said = []
    for example in examples:
        run = subprocess.run(
            [sys.executable, "-c", example],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        said.append(run.stdout.splitlines())
    part, everything = said
    assert part[0].startswith("scene_10001 ")
    assert re.fullmatch(r"\(264600, 2\) \d+ 44100", part[1])
    assert part[2] == "(44100, 2)"
    assert everything[0] == "<Plan: 20 files of samples, 4 files of targets to make>"
    assert everything[1] == "[(4, 'samples'), (4, 'targets')] []"
    assert everything[2] == "[]"
    assert everything[3].startswith("[")
    assert re.fullmatch(r"\(\d+, 2\) -\d+\.\d+ LUFS", everything[4])


def test_both_commands_stand_in_the_readme_in_one_line_each():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cadrender demo\n" in text
    assert "    python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest\n" in text
