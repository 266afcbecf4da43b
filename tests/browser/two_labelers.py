#!/usr/bin/env python3
"""Two labelers and a lead in a real browser: the page, the dashboard, and the cord, with screenshots.

    pip install playwright
    python tests/browser/two_labelers.py --runner target/release/runner --chromium /usr/bin/chromium --shots shots

Exits with 0 if everything is as it should be.
"""

import argparse
import fcntl
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from batches import batch, with_checks

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def serve(runner, *arguments):
    process = subprocess.Popen([runner, "labels", "serve", *arguments, "--listen", "127.0.0.1:0"],
                               stdout=subprocess.PIPE, text=True)
    page = process.stdout.readline().split()[-1]
    dashboard = process.stdout.readline().split()[-1]
    return process, page, dashboard


def answers(directory):
    lines = [line for path in Path(directory).glob("*/answers.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


class Browser:
    def __init__(self, browser, shots):
        self.browser, self.shots, self.errors = browser, shots, []

    def open(self, url, size, dark=False, **more):
        context = self.browser.new_context(viewport=size, color_scheme="dark" if dark else "light",
                                           reduced_motion="reduce", **more)
        page = context.new_page()
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" and "409" not in m.text else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.goto(url)
        return page

    def shot(self, page, name):
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=str(self.shots / f"{name}.png"), full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{name}: the page is wider than the window"


def contrast_problems(page):
    """Texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3)."""
    return page.evaluate("""() => {
      const rgb = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
      const lum = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
      const back = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c; }
        return [255, 255, 255]; };
      const bad = [];
      for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility() || e.closest('svg') || e.disabled || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
        const [a, b] = [lum(rgb(getComputedStyle(e).color)), lum(back(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) bad.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
      }
      return bad; }""")


def unnamed(page):
    """Controls without a name for a screen reader."""
    return page.evaluate("""() => [...document.querySelectorAll('button, input, select, textarea, progress')]
      .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
      .map((e) => e.outerHTML)""")


def check_page(page, name):
    assert not contrast_problems(page), (name, contrast_problems(page))
    assert not unnamed(page), (name, unnamed(page))
    small = page.evaluate("[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() && b.getBoundingClientRect().height < 24).length")
    assert small == 0, f"{name}: {small} buttons are too low for a finger"


def enter(page, name):
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start").click()


def counted(page):
    return page.locator("#counts").inner_text()


def labelers(b, url, directory):
    ada = b.open(url, PHONE)
    b.shot(ada, "enter_390")
    enter(ada, "Ada")
    expect(ada.locator("#candidates > li")).to_have_count(4)
    check_page(ada, "question")
    # New labelers see the instructions, which come after the question.
    expect(ada.locator("#instructions")).to_have_attribute("open", "")
    assert "<script>alert(1)</script>" in ada.locator("#instructions-text").inner_text(), "HTML is text"
    b.shot(ada, "question_390")
    first = ada.locator("#query").inner_text()

    bob = b.open(url, DESKTOP, dark=True)
    enter(bob, "Bob")
    expect(bob.locator("#candidates > li")).to_have_count(4)
    assert bob.locator("#query").inner_text() != first, "two people get different questions"
    assert bob.title() == "Which is best?", "model text ran as HTML"
    assert "<script>" in bob.locator("#query").inner_text() and bob.locator("#query *").count() == 0
    check_page(bob, "dark question")
    b.shot(bob, "question_1280_dark")

    # A choice by key; it is on disk when the next question is there.
    ada.keyboard.press("2")
    expect(ada.locator("#status")).to_have_text("Saved: 2.")
    assert counted(ada) == "1 answered"
    saved = [a for a in answers(directory) if a["labeler"] == "Ada"]
    assert len(saved) == 1 and saved[0]["revision"] == 0
    assert not ada.locator("#instructions").evaluate("d => d.open"), "once seen, they are closed"

    # Undo: another choice is a new revision.
    ada.keyboard.press("u")
    expect(ada.locator("#review-text")).to_contain_text("you chose 2")
    b.shot(ada, "review_390")
    ada.get_by_role("button", name="3 This one").click()
    expect(ada.locator("#status")).to_have_text("Saved: 3.")
    saved = [a for a in answers(directory) if a["labeler"] == "Ada"]
    assert [a["revision"] for a in saved] == [0, 1] and saved[0]["best"] != saved[1]["best"], saved

    # Skip with a reason, and a note; keys type text while a field has the focus.
    bob.locator("#note").fill("1 2 3 u s")
    bob.get_by_role("button", name=re.compile("Skip s")).click()
    bob.locator("#reason").select_option("cannot tell")
    b.shot(bob, "skip_1280_dark")
    bob.get_by_role("button", name="Skip this question").click()
    expect(bob.locator("#status")).to_have_text("Skipped.")
    skipped = [a for a in answers(directory) if a["labeler"] == "Bob"]
    assert skipped[0]["skip"] == "cannot tell" and skipped[0]["note"] == "1 2 3 u s" and "best" not in skipped[0]

    # A name that looks like a mistake.
    typo = b.open(url, DESKTOP)
    enter(typo, "Adda")
    expect(typo.locator("#like")).to_contain_text("Ada")
    b.shot(typo, "name_1280")
    typo.get_by_role("button", name="I am Ada").click()
    expect(typo.locator("#who")).to_have_text("Ada")
    # One labeler has one question, in however many windows.
    expect(typo.locator("#query")).to_have_text(ada.locator("#query").inner_text(), use_inner_text=True)
    typo.keyboard.press("1")
    expect(typo.locator("#status")).to_have_text("Saved: 1.")
    ada.keyboard.press("4")
    expect(ada.locator("#status")).to_contain_text("answered this item already")
    typo.context.close()

    # Reloading keeps name and question.
    there = ada.locator("#query").inner_text()
    ada.reload()
    expect(ada.locator("#query")).to_have_text(there, use_inner_text=True)
    assert ada.locator("#who").inner_text() == "Ada"
    # The keyboard alone: from the top, the first stop is the link to the question.
    ada.evaluate("document.activeElement.blur()")
    ada.keyboard.press("Tab")
    assert ada.evaluate("document.activeElement.className") in ("skip-link", "card", "choose"), "focus order"
    return ada, bob


def work(pages, directory):
    """Everything until nothing is left; Bob always takes the first place."""
    for _ in range(400):
        states = [page.locator("#message-title").inner_text() if page.locator("#message").is_visible() else "" for page in pages]
        if all(s.startswith("Thank you") for s in states):
            return
        for i, page in enumerate(pages):
            if page.locator("#work").is_visible():
                before = counted(page)
                page.keyboard.press("1" if i else "1234"[len(before + page.locator("#query").inner_text()) % 4])
                page.wait_for_function("b => document.getElementById('counts').textContent !== b", arg=before)
            else:
                time.sleep(0.2)
    raise AssertionError("the labelers are never done")


def lead(b, dashboard, results, directory):
    page = b.open(dashboard, DESKTOP)
    expect(page.locator("#labelers tbody tr")).to_have_count(2)
    expect(page.locator("#curves svg").first).to_be_visible()
    check_page(page, "dashboard")
    page.get_by_text("Latest samples").first.click()
    b.shot(page, "dashboard_1280")
    page.set_viewport_size(PHONE)
    b.shot(page, "dashboard_390")
    dark = b.open(dashboard, DESKTOP, dark=True)
    expect(dark.locator("#labelers tbody tr")).to_have_count(2)
    check_page(dark, "dark dashboard")
    b.shot(dark, "dashboard_1280_dark")
    page.set_viewport_size(DESKTOP)
    page.get_by_label("Your name").fill("Lee")
    page.get_by_role("row", name=re.compile("^Bob")).get_by_role("button", name="Drop").click()
    page.locator("#drop-reason").fill("always the first place")
    page.locator("#drop-yes").click()
    expect(page.get_by_role("row", name=re.compile("^Bob")).get_by_role("button")).to_have_text("Restore")
    event = json.loads((Path(directory) / "labelers.jsonl").read_text())
    assert (event["labeler"], event["action"], event["by"], event["reason"]) == ("Bob", "drop", "Lee", "always the first place")
    page.get_by_role("button", name="STOP training").click()
    b.shot(page, "stop_1280")
    page.locator("#stop-reason").fill("the samples are gibberish")
    page.locator("#stop-dialog").get_by_role("button", name="STOP training").click()
    expect(page.locator("#stopped")).to_contain_text("gibberish")
    stop = json.loads((Path(results) / "stop").read_text())
    assert stop["by"] == "Lee" and stop["reason"] == "the samples are gibberish"
    return page


def made_up_run(folder):
    run = Path(folder) / "runs" / "main"
    run.mkdir(parents=True)
    with open(run / "metrics.jsonl", "w") as file:
        for i in range(60):
            file.write(json.dumps({"elapsed/episodes": 64 * (i + 1), "objective/score": 2 - 2 / (1 + i / 9), "objective/kl": i / 9}) + "\n")
    sample = {"query": "It was late.", "response": " <b>She</b> laughed.", "score": 1.5, "kl": 3.2}
    (run / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (Path(folder) / "manifest.json").write_text(json.dumps({"state": "running"}))
    # A run in progress holds the directory's lock; without it, it would count as interrupted.
    lock = open(Path(folder) / ".lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runner", default="target/release/runner")
    arguments.add_argument("--chromium", default="/usr/bin/chromium")
    arguments.add_argument("--shots", type=Path, help="where screenshots go (default: a temporary folder)")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        shots = args.shots or Path(scratch) / "shots"
        shots.mkdir(parents=True, exist_ok=True)
        directory, results = Path(scratch) / "labels", Path(scratch) / "results"
        batch(directory, "round-0001", with_checks("a", 16))
        lock = made_up_run(results)
        server, page_url, dashboard_url = serve(args.runner, str(directory), "--results", str(results))
        try:
            b = Browser(playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"]), shots)
            ada, bob = labelers(b, page_url, directory)
            work([ada, bob], directory)
            b.shot(ada, "done_390")
            lead(b, dashboard_url, results, directory)
            # The labelers see it too; Bob's questions are asked again.
            bob.reload()
            expect(bob.locator("#message-title")).to_have_text("Your part is over")
            ada.reload()
            expect(ada.locator("#work")).to_be_visible()
            expect(ada.locator("#stopped")).to_contain_text("gibberish")
            b.shot(ada, "stopped_390")
            # A server that is away for a moment loses nothing.
            before = counted(ada)
            port = page_url.rstrip("/").rsplit(":", 1)[1]
            server.kill()
            server.wait()
            ada.keyboard.press("1")
            expect(ada.locator("#status")).to_contain_text("Not saved yet")
            b.shot(ada, "offline_390")
            server = subprocess.Popen([args.runner, "labels", "serve", str(directory), "--listen", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL)
            expect(ada.locator("#status")).to_have_text("Saved: 1.", timeout=20000)
            assert counted(ada) != before
            errors = [e for e in b.errors if "ERR_CONNECTION" not in e]
            assert not errors, errors
        finally:
            server.kill()
    print(f"two labelers and a lead: as it should be ({len(list(shots.glob('*.png'))) if args.shots else 0} screenshots kept)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
