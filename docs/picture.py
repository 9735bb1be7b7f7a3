"""Makes docs/report.png, README's picture: the head of the report on the samplers of README's table.

    python docs/picture.py

It needs playwright and Chromium. The picture has few colours, so that a palette keeps it small.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "report.png"
WIDTH = 1200


def main() -> None:
    named = re.findall(r"^\| `([^`]+)`[^|]*\|(?: [*\d]| skipped)", (ROOT / "README.md").read_text(), re.MULTILINE)
    chosen = [word for name in named for word in ("--where", f"sampler={name}")]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        program = Path(sys.executable).with_name("samplerbench")
        subprocess.run([program, "report", "results/fashion-mnist", *chosen, "-o", str(page)], cwd=ROOT, check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": 900})
        view.goto(page.as_uri())
        box = view.locator("figure.main").first.bounding_box()
        assert box is not None
        height = box["y"] + box["height"] + 12
        drawn = view.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(OUT, optimize=True)
    print(f"{OUT.name}: {OUT.stat().st_size / 1000:.0f} kB, {WIDTH} × {height:.0f}")


if __name__ == "__main__":
    main()
