"""The page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import json
import re
import shutil
import time

import numpy as np
import pytest
import torch

from samplerbench.images import sample_grid
from samplerbench.report.html.page import page
from samplerbench.report.overview import overview

from .conftest import HASHES, cell, write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODEL = HASHES["model_sha256"] * 16
NAMES = ("ddim", "heun", "unipc:order=2:spacing=karras:a-long=name-that-does-not-fit-anywhere", "sde-dpm-solver")
ROWS = "return [...document.querySelectorAll('#{} tbody tr')].filter(r => !r.hidden).map(r => r.cells[{}].textContent)"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory, registry):
    """A report on four samplers at three budgets, paired, with seconds, pictures, another metric and a command."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(256)
    cells = [
        cell(
            name,
            n,
            (20.0 + 3 * i) * 10 / n,
            influences=common + 0.3 * rng.standard_normal(256),
            seconds_sampling=0.01 * n * 256,
            hardware="a machine",
            ode_rmse=n**-1.5,
            ode_rmse_se=0.001,
            ode_rmse_n=256,
        )
        for i, name in enumerate(NAMES)
        for n in (5, 10, 50)
    ]
    folder = write_run(tmp_path_factory.mktemp("run"), cells)
    run = {
        "command": ["samplerbench", "run", "--out", "x" * 300],
        "model": {"sample_shape": [1, 28, 28], "sha256": MODEL},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "samples").mkdir()
    for one in cells:
        grid = sample_grid(torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8))
        grid.save(folder / "samples" / f"x-{one['key'][:8]}-256.png")
    path = folder / "report.html"
    path.write_text(page(overview([folder], "fid", registry, baseline="ddim")))
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; it is in the extra dev"
    )
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, file):
    """Opens the page; at the end nothing may have been asked for but the page, and nothing complained of."""
    contexts, asked, complaints = [], [], []

    def of(width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        view = context.new_page()
        view.set_default_timeout(10_000)
        view.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.goto(file.as_uri())
        return view

    yield of
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()] * len(contexts)
    assert complaints == []


def run_in(view, body):
    return view.evaluate(f"() => {{ {body} }}")


def until(true, seconds=10):
    """Waits; playwright's own way to is refused by the page's policy."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_curves_are_drawn(opened):
    view = opened()
    boxes = run_in(
        view,
        """return [...document.querySelectorAll(".plot > svg")].map(svg => {
            const frame = svg.querySelector(".axes path").getBoundingClientRect();
            return [...svg.querySelectorAll("[data-i]")].map(use => {
                const box = use.getBoundingClientRect();
                const x = box.x + box.width / 2, y = box.y + box.height / 2;
                const across = x > frame.left - 1 && x < frame.right + 1;
                return box.width > 3 && across && y > frame.top - 1 && y < frame.bottom + 1;
            });
        });""",
    )
    assert [len(chart) for chart in boxes] == [12] * 5  # FID against two costs, their fronts, ode_rmse
    assert all(all(chart) for chart in boxes)
    text = view.locator("#others .end text").first.text_content()
    assert text.startswith("ddim (uniform): slope −1.50")


def test_pointing_says_what_a_point_is(opened):
    view = opened()
    plot = view.locator(".plot").first
    point = plot.locator("[data-i]").nth(1)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    tip = plot.locator(".tip")
    assert tip.is_hidden()
    view.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    assert tip.is_visible()
    assert tip.text_content() == "ddim (uniform) at 10 evaluations: 20, 95 %: 19.9 to 20.1"
    assert plot.locator(".hot").count() == 1
    view.mouse.move(5, 5)
    assert tip.is_hidden()


def test_the_arrow_keys_go_through_the_points(opened):
    view = opened()
    plot = view.locator(".plot").first
    plot.focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        view.keyboard.press(key)
        said.append(view.locator("#said").text_content())
        assert said[-1] == plot.locator(".tip").text_content()
    starts = ["ddim (uniform) at 5", "ddim (uniform) at 10", "heun (uniform) at 10", "heun (uniform) at 5"]
    assert [text.partition(" evaluations")[0] for text in said] == starts
    view.keyboard.press("Escape")
    assert plot.locator(".tip").is_hidden()


def test_series_are_switched_off_in_all_charts(opened):
    view = opened()
    shown = (
        "return [...document.querySelectorAll('#curves .s')].filter(g => getComputedStyle(g).display !== 'none').length"
    )
    every = run_in(view, shown)
    assert every == 4 * 4
    view.get_by_label("heun (uniform)").uncheck()
    assert run_in(view, shown) == every - 4
    view.get_by_role("button", name="none").click()
    assert run_in(view, shown) == 0
    view.get_by_role("button", name="all", exact=True).click()
    assert run_in(view, shown) == every


def test_tables_are_sorted_and_filtered(opened):
    view = opened()
    figures = ROWS.format("results", 1)
    before = run_in(view, figures)
    head = view.locator("#results thead th").nth(1)
    for direction, order in (("ascending", False), ("descending", True)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        values = [float(text.split()[0]) for text in run_in(view, figures)]
        assert values == sorted(values, reverse=order)
    assert sorted(run_in(view, figures)) == sorted(before)
    view.locator("#baseline thead th").nth(0).get_by_role("button").click()
    names = run_in(view, ROWS.format("baseline", 0))
    assert names == sorted(names, key=str.casefold)
    view.locator("[data-filter=baseline]").fill("HEUN paired")
    assert run_in(view, ROWS.format("baseline", 0)) == ["heun (uniform)"] * 3
    assert view.locator("#said").text_content() == "3 of 9 rows"


def test_tables_are_copied(opened):
    view = opened(permissions=["clipboard-read", "clipboard-write"])
    clipboard, status = "navigator.clipboard.readText()", view.locator("#said")
    view.locator("#results thead th").nth(1).get_by_role("button").dblclick()
    view.locator("[data-filter=results]").fill("ddim")
    view.locator("[data-copy=results][data-as=latex]").click()
    until(lambda: status.text_content() == "copied 12 lines")
    lines = view.evaluate(clipboard).splitlines()
    assert (
        "% bold: all that may be the best of their column, with 95 % confidence a column (paired differences)." in lines
    )
    assert lines[0] == r"\begin{tabular}{lrrr}"
    assert [line for line in lines if line.startswith(r"\texttt")] == [lines[4]]
    assert lines[4].startswith(r"\texttt{ddim} (uniform) & \textbf{40.00}")
    view.locator("[data-copy=results][data-as=csv]").click()
    until(lambda: status.text_content() == "copied 13 lines")
    assert view.evaluate(clipboard).splitlines()[0] == "sampler,budget,fid,fid_se,nfe,status,may_be_best"
    view.locator("[data-copy=records]").click()
    until(lambda: view.evaluate(clipboard).startswith("model,sampler"))
    lines = view.evaluate(clipboard).splitlines()
    assert len(lines) == 13
    assert lines[1].startswith("tiny,ddim,uniform,zero,5,5,5,done,,40,")


def test_a_browser_that_refuses_the_clipboard_copies_all_the_same(opened):
    view = opened()
    run_in(view, "navigator.clipboard.writeText = () => Promise.reject(new Error('no'));")
    run_in(view, "document.execCommand = () => { window.copied = document.activeElement.value; return true; };")
    view.locator("[data-copy=baseline][data-as=csv]").click()
    until(lambda: view.evaluate("window.copied"))
    assert view.evaluate("window.copied").startswith("sampler,nfe,base,other")


def test_pairs_are_shown_one_matrix_at_a_time(opened):
    view = opened()
    assert view.locator(".pairs:visible").count() == 1
    view.locator("#column").select_option("5")
    assert view.locator(".pairs:visible h3").text_content().startswith("5 evaluations: 6 pairs")
    view.locator(".pairs:visible tbody tr").nth(1).locator("td").first.hover()
    said = view.locator("#pair").text_content()
    found = re.fullmatch(r"heun \(uniform\) less ddim \(uniform\): ΔFID \+6, 95 % at once: \[\+(.*), \+(.*)\]", said)
    assert found
    assert float(found[1]) < 6 < float(found[2])


def test_pairs_are_gone_through_with_the_keyboard(opened):
    view = opened()
    view.locator("#column").focus()
    for key, names in (
        ("Tab", None),  # the box that scrolls
        ("Tab", ("heun", "ddim")),
        ("ArrowDown", ("unipc", "ddim")),
        ("ArrowRight", ("unipc", "heun")),
        ("ArrowRight", ("unipc", "heun")),  # the diagonal has no pair
        ("ArrowUp", ("unipc", "heun")),
        ("ArrowDown", ("sde-dpm-solver", "heun")),
    ):
        view.keyboard.press(key)
        if names:
            said = view.locator("#pair").text_content()
            assert said.startswith(names[0])
            assert f" less {names[1]}" in said
    assert view.locator(".pairs:visible td[tabindex='0']").count() == 1


def test_what_is_sorted_are_the_numbers_behind_the_words(opened):
    """p is words where it is small, and an interval is two numbers."""
    view = opened()
    for column, first in (("p", None), ("95 % at once", "[+")):
        head = view.locator("#baseline thead th").filter(has_text=re.compile(f"^{column}$"))
        place = head.evaluate("head => head.cellIndex")
        head.get_by_role("button").click()
        texts = run_in(view, ROWS.format("baseline", place))
        values = view.evaluate(
            f"[...document.querySelectorAll('#baseline tbody tr')].map(r => +r.cells[{place}].dataset.v)"
        )
        assert values == sorted(values)
        assert texts[0] == "<0.001" if first is None else texts[0].startswith(first)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(opened, scheme):
    view = opened(390, color_scheme=scheme)
    assert view.evaluate("document.documentElement.scrollWidth") == 390
    wide = run_in(
        view,
        """return [...document.querySelectorAll("body *")].filter(one => {
            const box = one.getBoundingClientRect();
            return box.right > 391 && box.width && !one.closest(".scroll, pre, .skip") && !one.closest("svg");
        }).map(one => one.outerHTML.slice(0, 100));""",
    )
    assert wide == []
    colours = run_in(view, "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    light, dark = [sum(map(int, c[4:-1].split(", "))) for c in colours]
    assert (light > dark) == (scheme == "light")
    plot = view.locator(".plot").first
    plot.locator("[data-i]").last.hover(force=True)
    box = plot.locator(".tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_without_scripts_all_is_read_and_nothing_is_offered_that_does_not_work(opened):
    view = opened(java_script_enabled=False)
    assert view.locator("button:visible, input:visible, select:visible").count() == 0
    assert view.locator(".pairs:visible").count() == 3
    assert view.locator("#results tbody tr:visible").count() == 4
    assert view.locator(".legend .swatch:visible").count() == 4


def test_in_print_all_is_there(opened):
    view = opened()
    view.emulate_media(media="print")
    offered = "return [...document.querySelectorAll('button, input, select')].filter(one => one.checkVisibility())"
    assert run_in(view, f"{offered}.map(one => one.closest('th') ? '' : one.outerHTML).filter(Boolean)") == []
    assert view.locator(".pairs:visible").count() == 3
    assert view.locator("img:visible").count() == 12


def test_in_print_the_wide_chart_is_used_and_few_pages(opened):
    view = opened()
    pages = re.findall(rb"/Type\s*/Page\b", view.pdf(format="A4"))
    assert len(pages) <= 4
    view.set_viewport_size({"width": 700, "height": 1000})  # of a printed page: as narrow as a phone lying on its side
    for media, shown in (("print", True), ("screen", False)):
        view.emulate_media(media=media)
        assert view.locator(".main .end text").first.is_visible() == shown
