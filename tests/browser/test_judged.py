"""The page of a run that was killed half-way, in a real Chromium without a network."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.cli.commands import spanloom
from tests.cli.killed_example import kill_half_way

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_a_killed_run_opens(tmp_path: Path) -> None:
    """It draws, complains of nothing, asks for nothing, and says that the run was interrupted."""
    kill_half_way(tmp_path)
    spanloom(tmp_path, "export", "last", "--format", "html", "-o", "page.html")
    requests: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)
        text = page.inner_text("body")
        shots = ROOT / "build" / "judged"
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / "page.png")
        browser.close()
    assert requests == [(tmp_path / "page.html").as_uri()]
    assert complaints == []
    assert "fetch_and_count.py" in text
    assert "interrupted" in text.lower()
