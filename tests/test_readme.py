"""What the README shows must work as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from cadrender.demo import make_root

ROOT = Path(__file__).parent.parent


def test_python_example_runs_beside_a_demo_folder(tmp_path):
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    make_root(tmp_path / "cadrender-demo", songs=1, subjects=2)
    run = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    scene, severity, loudness = run.stdout.splitlines()
    assert scene.startswith("scene_10001 ")
    assert severity.startswith("[")
    assert re.fullmatch(r"\(\d+, 2\) -\d+\.\d+ LUFS", loudness)


def test_both_commands_stand_in_the_readme_in_one_line_each():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cadrender demo\n" in text
    assert "    python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest\n" in text
