"""One browser for all tests of pages."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Browser, program


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; skips where there is none."""
    if program() is None:
        pytest.skip("no Chromium here (Debian: chromium)")
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()
