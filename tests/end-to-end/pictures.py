"""Takes the pictures of the page of findings in docs/: light, dark, on a phone. Needs Chromium.

pictures.py PAGE.html DIRECTORY
"""

import pathlib
import sys

from playwright.sync_api import sync_playwright

from browser import CHROMIUM

PICTURES = {
    "report-light": ("light", 1100, 1500),
    "report-dark": ("dark", 1100, 1500),
    "report-phone": ("light", 390, 844),
}


def main(page_file, directory):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        for name, (scheme, width, height) in PICTURES.items():
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
            page.goto(pathlib.Path(page_file).resolve().as_uri())
            page.locator("#keys > details > summary").first.click()
            page.screenshot(path=pathlib.Path(directory) / f"{name}.png")
            page.close()
        browser.close()


main(*sys.argv[1:])
