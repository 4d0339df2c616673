"""Shared by all tests: compiled kernels; the tiers (`-m faults` is tests/faults, `-m browser` needs a browser);
hypothesis without deadlines (the first call of a kernel compiles it) and with the same draws everywhere, more of them
with `--hypothesis-profile thorough`."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.kernels import compile_all, share_cache

FAULTS = Path(__file__).parent / "faults"

settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=25)
settings.load_profile("quick")


def pytest_configure(config):
    share_cache(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(FAULTS):
            item.add_marker(pytest.mark.faults)
        if item.path.name == "test_browser.py":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session", autouse=True)
def compiled(request, tmp_path_factory):
    """Compiled kernels, before the first of many tests."""
    compile_all(request.session.items, tmp_path_factory.mktemp("compiling"))
