"""Gauge pages in a real browser, served by the reference portal: skips where there is none.

One module, one browser: starting it takes longer than most of what it is asked.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gauge_scenes import SCENES, publish, tables

from orchestration.pages.build import build_pages
from orchestration.pages.finance_page import build_finance_page
from orchestration.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine: apt-get install chromium", allow_module_level=True)
pytest.importorskip("playwright", reason="playwright is not installed")
pytest.importorskip("itsdangerous", reason="the extra portal is not installed")

from asgi_server import Server, served  # noqa: E402
from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.responses import HTMLResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402

from orchestration.pages.portal import gauge_path, portal, session_token  # noqa: E402

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCHEMES = ("light", "dark")
WIDTHS = (1000, 390)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

# Every drawn text with its size on the screen, and its contrast with what it stands on.
TEXTS = """() => {
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = channels(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const drawn = element instanceof SVGElement;
    const one = light(channels(drawn ? style.fill : style.color));
    const other = light(behind(element));
    found.push({
      text,
      size: parseFloat(style.fontSize) * (drawn ? element.getScreenCTM().a : 1),
      contrast: (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05),
    });
  }
  return found;
}"""
# What a chart says by colour, against the page: 3 to 1 (WCAG 1.4.11).
SHAPES = """() => {
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const page = light(channels(getComputedStyle(document.body).backgroundColor));
  const kinds = {fill: '.fuel, .dot, rect[class^="k"]', stroke: '.line, .ahead, .threshold, .mark, .tank'};
  const found = [];
  for (const [paint, selector] of Object.entries(kinds))
    for (const element of document.querySelectorAll(selector)) {
      const one = light(channels(getComputedStyle(element)[paint]));
      const contrast = (Math.max(one, page) + 0.05) / (Math.min(one, page) + 0.05);
      found.push({shape: element.getAttribute('class'), contrast});
    }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """The pages of every scene."""
    data = tmp_path_factory.mktemp("data")
    publish(data / "published" / "current", SCENES.values())
    settings = Settings(
        data_dir=data, show_cost_to="many", top_up_url="https://portal.example.com/top-up"
    )
    build_pages(settings)
    build_finance_page(settings)
    return settings


@pytest.fixture(scope="module")
def server(settings) -> Iterator[Server]:
    """The portal on the morning after."""
    with served(portal(settings, clock=lambda: datetime(2026, 2, 16, 8, tzinfo=UTC))) as server:
        yield server


def link(settings: Settings, server: Server, scene: str) -> str:
    return f"{server.url}{gauge_path(scene)}?token={session_token(settings, scene)}"


@contextmanager
def opened(browser: Browser, url: str, *, width: int = 1000, **options: Any) -> Iterator[Page]:
    """A page in a context of its own; without JavaScript unless told otherwise."""
    options.setdefault("java_script_enabled", False)
    context = browser.new_context(viewport={"width": width, "height": 800}, **options)
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


@pytest.mark.slow
def test_every_page_is_one_request_without_an_error(browser, settings, server):
    """Method: requests and console messages of a page without JavaScript, under the header's CSP."""
    context = browser.new_context(java_script_enabled=False)
    for scene in SCENES:
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        url = link(settings, server, scene)
        answer = page.goto(url)
        page.wait_for_load_state("networkidle")
        assert asked == [url], scene
        assert said == [], scene
        assert "style-src 'sha256-" in answer.headers["content-security-policy"]
        assert len(answer.body()) < 200_000
        # The stylesheet was let in.
        assert (
            page.locator(".card").first.evaluate("e => getComputedStyle(e).borderRadius") == "10px"
        )
        page.close()
    context.close()


def test_a_session_does_not_open_another_gauge(browser, settings, server):
    url = link(settings, server, "healthy")
    with opened(browser, url) as page:
        assert page.get_by_role("heading", level=1).inner_text() == "Ada Labs"
        answer = page.goto(url.replace("/healthy/", "/capped/"))
        assert answer.status == 404
        assert "Ninety-Five" not in page.content()
        assert page.goto(url.partition("?")[0]).status == 401


@pytest.mark.slow
def test_the_page_shows_what_is_published(browser, settings, server):
    """Balance, projected date and the days thresholds were crossed, as a reader sees them."""
    rows = tables(SCENES.values())
    alerts = {
        (row["customer_id"], row["alert_type"]): row["raised_on"] for row in rows["credit_alerts"]
    }
    for row in rows["fuel_gauges"]:
        customer = row["customer_id"]
        with opened(browser, link(settings, server, customer)) as page:
            shown = page.locator("#balance data")
            assert Decimal(shown.get_attribute("value")) == row["balance"]
            cents = Decimal(shown.inner_text().replace(",", ""))
            assert abs(cents - row["balance"]) <= Decimal("0.005")
            projected = row["projected_depletion_date"] if row["balance"] else None
            dates = page.locator("#projection time")
            assert dates.count() == bool(projected)
            if projected:
                assert dates.get_attribute("datetime") == projected.isoformat()
                assert dates.inner_text().replace("\xa0", " ") == f"{projected:%-d %b %Y}"
            for kind, reached in (
                ("pre_alert", row["status"] != "ok"),
                ("hard_cap", row["status"] == "capped"),
            ):
                if reached:
                    crossed = page.locator(f"#{kind} time").get_attribute("datetime")
                    assert crossed == alerts[customer, kind].isoformat()
            meter = page.get_by_role("meter")
            if row["balance"]:
                used = 100 * row["balance"] / (row["balance"] + row["burned_in_cycle"])
                level = Decimal(meter.get_attribute("aria-valuenow"))
                assert abs(level - used) <= Decimal("0.5")


@pytest.mark.parametrize("scene", [name for name in SCENES if name.startswith("hostile")])
def test_hostile_names_run_and_break_nothing(browser, settings, server, scene):
    """Method: with JavaScript on and without the CSP, so that only the escaping is between."""
    with opened(
        browser,
        link(settings, server, scene),
        width=390,
        java_script_enabled=True,
        bypass_csp=True,
    ) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"{scene}: {dialog.message}"))
        assert page.locator("script, img").count() == 0
        assert page.locator("main").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.get_by_role("heading", level=1).bounding_box()["height"] < 150
        names = page.get_by_role("heading", level=1).inner_text()
        assert "\u202e" not in names


def check(page: Page, scene: str, width: int) -> None:
    """No violation, nothing too small or too faint, nothing beside the screen, folded or not."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width, scene
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, scene
    results = Axe().run(page, options=RULES)
    assert not results.response["violations"], (scene, results.generate_report())
    texts = page.evaluate(TEXTS)
    assert len(texts) > 20
    assert min(text["size"] for text in texts) >= 11, scene
    faint = [text for text in texts if text["contrast"] < 4.5]
    assert not faint, (scene, faint)
    faint = [shape for shape in page.evaluate(SHAPES) if shape["contrast"] < 3]
    assert not faint, (scene, faint)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_can_be_read_by_everyone(
    browser, settings, server, width, scheme, tmp_path_factory
):
    """In every state, and finance's; their pictures are left for a person to look at."""
    pictures = tmp_path_factory.mktemp("pictures")
    pages = {scene: link(settings, server, scene) for scene in SCENES}
    pages["finance"] = (settings.finance_dir / "current" / "index.html").as_uri()
    for scene, url in pages.items():
        with opened(
            browser,
            url,
            width=width,
            color_scheme=scheme,
            java_script_enabled=True,
            bypass_csp=True,
        ) as page:
            page.screenshot(path=pictures / f"{scene}-{scheme}-{width}.png", full_page=True)
            check(page, scene, width)


def test_between_phone_and_desk_letters_stay_readable(browser, settings, server):
    for width in (320, 600, 768, 769, 1400):
        with opened(browser, link(settings, server, "unlimited"), width=width) as page:
            assert min(text["size"] for text in page.evaluate(TEXTS)) >= 11, width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator(".chart:visible").count() == 2


def test_the_keyboard_reaches_what_can_be_opened(browser, settings, server):
    with opened(browser, link(settings, server, "many")) as page:
        reached = []
        for _ in range(6):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert reached[:5] == [
            "Add credits",
            "Daily figures, last 28 days",
            "Used up or expired in this cycle: 25",
            "6 more",
            "34 earlier",
        ]
        first = page.locator("details").first
        first.locator("summary").focus()
        assert first.locator("table").is_hidden()
        page.keyboard.press("Enter")
        assert first.locator("table").is_visible()
        outline = first.locator("summary").evaluate("e => getComputedStyle(e).outlineStyle")
        assert outline == "solid"


@pytest.mark.slow
def test_a_page_prints_on_two_sheets_in_light_colours(browser, settings, server):
    for scene in SCENES:
        with opened(browser, link(settings, server, scene), color_scheme="dark") as page:
            printed = page.pdf(prefer_css_page_size=True, print_background=True)
            assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2, scene
            page.emulate_media(media="print")
            color = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
            assert color == "rgb(255, 255, 255)"


def test_only_the_origin_that_may_embed_a_page_does(browser, settings):
    """Method: the same page in a sandboxed frame on two origins; the portal's setting names one."""
    frames: dict[str, str] = {}

    def parent(request: Any) -> HTMLResponse:
        return HTMLResponse(f'<iframe sandbox src="{frames["src"]}" width=800 height=600></iframe>')

    host = Starlette(routes=[Route("/", parent)])
    with served(host) as allowed, served(host) as refused:
        known = settings.model_copy(update={"portal_frame_ancestors": allowed.url})
        with served(portal(known, clock=lambda: datetime(2026, 2, 16, 8, tzinfo=UTC))) as server:
            frames["src"] = link(settings, server, "healthy")
            with opened(browser, allowed.url) as page:
                inside = page.frame_locator("iframe")
                assert inside.get_by_role("heading", level=1).inner_text() == "Ada Labs"
            said: list[str] = []
            context = browser.new_context()
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.goto(refused.url)
            assert page.frame_locator("iframe").get_by_text("Ada Labs").count() == 0
            assert any("frame-ancestors" in message for message in said)
            context.close()


def test_out_of_date_figures_are_said_to_be(browser, settings):
    for day, stale in ((16, False), (18, True)):
        app = portal(settings, clock=lambda day=day: datetime(2026, 2, day, tzinfo=UTC))
        with (
            served(app) as server,
            opened(browser, link(settings, server, "healthy")) as page,
        ):
            notice = page.locator("#stale")
            assert notice.is_visible() is stale
            assert not stale or "out of date" in notice.inner_text()


def test_every_file_of_the_set_is_a_page_a_model_or_the_policy(settings):
    names = {
        path.name
        for path in Path(settings.pages_dir / "current").resolve().rglob("*")
        if path.is_file()
    }
    assert names == {"index.html", "gauge.json", "content-security-policy.txt"}
