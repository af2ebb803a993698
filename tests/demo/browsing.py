"""Looking at the page in headless Chromium."""

import time


def every(browser, selector):
    """The elements that are there now."""
    return browser.find_elements("css selector", selector)


def wait_for(browser, selector, seconds=40):
    """The first such element, when there is one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.find_elements("css selector", selector):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"{selector} did not appear")


def wait_for_text(browser, selector, text, seconds=40):
    """All text of the first such element, when it has this in it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = browser.find_elements("css selector", selector)
        if found and text in found[0].text:
            return found[0].text
        time.sleep(0.2)
    raise AssertionError(f"{text!r} did not appear in {selector}")


def upload(browser, url, picture):
    """Opens the page and gives it a picture, which it segments at once."""
    browser.get(url)
    wait_for(browser, "#upload input[type=file]").send_keys(str(picture))
