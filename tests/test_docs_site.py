"""The documentation is built without a warning, and its pages in a real browser load nothing from another host."""

from __future__ import annotations

import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly: a broken link or anchor is an error."""
    pytest.importorskip("material", reason="mkdocs-material is not installed; it is in the extra docs")
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built_with_its_formulas_and_curves(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    for path in (site / "samplers").glob("*.html"):
        text = path.read_text()
        if path.stem != "index":
            assert "<math" in text, path.stem
            assert 'data-chart="fid-evaluations"' in text, path.stem
            assert "$$" not in text, path.stem
            assert not re.search(r"<mi>(′|&#x0?2032;)</mi>", text), path.stem  # a prime stands beside its letter
    assert not list(site.rglob("*.py"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", sorted(str(p.relative_to(site)) for p in site.rglob("*.html"))
    server.shutdown()
    server.server_close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here; apt-get install chromium")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_no_page_asks_another_host_and_none_overflows(served, width, scheme):
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; it is in the extra dev"
    )
    base, pages = served
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        asked, troubles = set(), []
        view.on("request", lambda request: asked.add(request.url))
        view.on("pageerror", lambda error: troubles.append(str(error)))
        for page in pages:
            view.goto(base + page)
            assert view.evaluate("document.documentElement.scrollWidth") <= width, page
        browser.close()
    assert {url for url in asked if not url.startswith((base, "data:", "blob:"))} == set()
    assert not troubles
