"""What all tests share: hypothesis without deadlines (the first call of a kernel compiles it), the same draws
everywhere; and the tiers: `-m faults` is tests/faults, `-m browser` needs a browser, `-m slow` takes longer."""

import pytest
from hypothesis import settings

settings.register_profile("cadrender", deadline=None, derandomize=True)
settings.load_profile("cadrender")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.faults)
        if item.path.name == "test_browser.py":
            item.add_marker(pytest.mark.browser)
