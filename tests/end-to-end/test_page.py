"""The page of findings in a real browser. It comes from the crate that makes it, by its example `page`."""

import json
import re
import subprocess
import time

import pytest

from browser import assert_accessible
from local_aws import ROOT

LARGE = 10_000
CONTROLS = ("pending-deletion", "foreign-access", "rotation-enabled", "key-unused")


def counts(text):
    """The numbers in a sentence."""
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files with the page of so many findings."""
    command = ["cargo", "build", "--workspace", "--example", "page", "--message-format", "json-render-diagnostics"]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    (program,) = {it["executable"] for it in messages if it.get("executable") and it["target"]["name"] == "page"}
    directory = tmp_path_factory.mktemp("page")

    def page(findings):
        path = directory / f"{findings}.html"
        if not path.exists():
            path.write_bytes(subprocess.run([program, str(findings)], check=True, stdout=subprocess.PIPE).stdout)
        return path

    return page


@pytest.fixture
def show(visit, pages):
    """Visits the page of so many findings."""

    def show(findings=40, **options):
        return visit(pages(findings), **options)

    return show


def shown(page):
    return [key for key in page.locator("#keys > details").all() if key.is_visible()]


def wait_for(page, test):
    page.wait_for_function(f"() => {test}", timeout=5_000)


def test_it_says_all_without_a_script(show):
    page = show(java_script_enabled=False)
    assert page.locator("#filters").is_hidden()
    findings, keys, *_ = counts(page.locator("h1").inner_text())
    assert page.locator("#keys li").count() == findings
    assert page.locator("#keys > details").count() == keys
    first = page.locator("#keys > details").first
    assert not first.locator("ul").is_visible()
    first.locator("summary").click()
    assert first.locator("li p").first.is_visible()
    remediation = first.locator("li > a").first
    target = remediation.get_attribute("href")
    assert re.fullmatch(r"#r\d+", target)
    assert page.locator(target).inner_text()


@pytest.mark.parametrize("severity", ["CRITICAL", "HIGH", "MEDIUM", "LOW"])
def test_filter_by_severity(show, severity):
    page = show()
    its_class = {"CRITICAL": "s4", "HIGH": "s3", "MEDIUM": "s2", "LOW": "s1"}[severity]
    expected = page.locator(f"#keys li > b.{its_class}").count()
    for box in page.locator("#filters [type=checkbox]").all():
        if box.get_attribute("value") != its_class:
            box.uncheck()
    wait_for(page, f"document.querySelectorAll('#keys li:not([hidden]) > b').length === {expected}")
    left = page.locator("#keys li:not([hidden]) > b")
    assert set(left.all_text_contents()) == {severity}
    assert counts(page.locator("#shown").inner_text())[0] == left.count() == expected > 0


@pytest.mark.parametrize("control", CONTROLS)
def test_filter_by_control(show, control):
    page = show()
    expected = page.locator("#keys li > code").filter(has_text=control).count()
    page.locator("[name=control]").select_option(control)
    wait_for(page, "document.getElementById('shown').textContent.includes(' of ')")
    left = page.locator("#keys li:not([hidden]) > code")
    assert {it.text_content() for it in left.all()} == {control}
    assert left.count() == expected > 0


def test_filter_by_region_and_text_and_reset(show):
    page = show()
    everything = page.locator("#shown").inner_text()
    page.locator("[name=region]").select_option("eu-west-1")
    wait_for(page, "document.getElementById('shown').textContent.includes(' of ')")
    assert {key.locator("summary i").inner_text() for key in shown(page)} == {"eu-west-1"}
    page.locator("[name=text]").fill("PAYMENTS rotation")
    wait_for(page, "!document.getElementById('shown').textContent.startsWith('9')")
    page.wait_for_timeout(200)
    names = [key.locator("summary span").inner_text() for key in shown(page)]
    assert names and all("payments" in name for name in names)
    page.locator("[name=text]").fill("no such key")
    wait_for(page, "document.getElementById('shown').textContent.startsWith('0 findings on 0 keys of')")
    assert shown(page) == []
    page.locator("[name=text]").press("Enter")  # sends nothing to anywhere
    page.locator("[type=reset]").click()
    wait_for(page, "!document.getElementById('shown').textContent.includes(' of ')")
    assert page.locator("#shown").inner_text() == everything


def test_a_key_that_is_opened_says_what_to_do(show):
    page = show()
    first = page.locator("#keys > details").first
    first.locator("summary").click()
    first.locator(".fix").first.wait_for()
    assert first.locator("li > a").count() == 0
    assert "cancel-key-deletion" in first.locator(".fix").first.inner_text()
    page.locator("[name=close]").click()
    assert page.locator("#keys > details[open]").count() == 0


def test_text_of_others_stays_text(show):
    page = show()
    page.locator("[name=open]").click()
    text = page.locator("main").text_content()
    assert "alias/<script>document.title='taken'</script>" in text
    assert 'alias/"><img src=https://example.com/x onerror' in text
    assert "moves to a new key <b>soon</b>" in text
    assert "</dd><script>" not in page.locator("body").inner_html()
    assert "taken" not in page.title()
    assert page.locator("img, iframe, object, main script").count() == 0
    assert page.evaluate("document.scripts.length") == 1
    assert not set(page.content()) & set("\u202e\u001b")


def test_a_script_that_is_not_its_own_does_not_run(pages, chromium, tmp_path):
    path = tmp_path / "changed.html"
    html = pages(40).read_text(encoding="utf-8").replace("</main>", "<script>document.title='taken'</script></main>")
    path.write_text(html, encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    assert page.title() != "taken"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible(show, scheme, width):
    page = show(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.locator("[name=open]").click()
    page.locator("#about summary").click()
    assert_accessible(page, width)


def test_it_is_usable_by_the_keyboard(show):
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#keys summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#keys > details").first.get_attribute("open") is not None


@pytest.mark.parametrize("script", [True, False])
def test_paper_shows_what_is_closed(show, script):
    page = show(java_script_enabled=script)
    page.emulate_media(media="print")
    item = page.locator("#keys li").first
    assert item.bounding_box()["height"] > 0
    assert page.locator("#filters").is_hidden()
    assert page.locator("nav").is_hidden()
    pdf = page.pdf(prefer_css_page_size=True)
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert boxes and {(round(float(w)), round(float(h))) for w, h in boxes} <= {(595, 842), (596, 842), (595, 841)}


def test_ten_thousand_findings_are_usable(show, pages):
    assert pages(LARGE).stat().st_size < 5_000_000
    start = time.monotonic()
    page = show(LARGE)
    page.locator("#filters").wait_for()
    loaded = time.monotonic() - start
    start = time.monotonic()
    page.locator("[name=text]").fill("ledger")
    wait_for(page, "document.getElementById('shown').textContent.includes(' of ')")
    filtered = time.monotonic() - start
    print(f"10,000 findings: shown after {loaded:.1f} s, filtered after {filtered:.1f} s")
    assert loaded < 20 and filtered < 5
