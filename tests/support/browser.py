"""A headless Chromium that draws, reads the page and records its requests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which
from typing import Any

from tests.support.strokes import Stroke

TOOLS = ("chromium", "chromedriver")


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """Open the page in a browser and yield its driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1280,1000", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.binary_location = which("chromium")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(which("chromedriver")))
    try:
        driver.get(url)
        answer(driver, "Nothing drawn yet")
        yield driver
    finally:
        driver.quit()


def draw(driver: Any, strokes: list[Stroke]) -> None:
    """Clear the drawing area and draw with the pointer."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    driver.find_element(By.CSS_SELECTOR, "#pad button").click()
    answer(driver, "Nothing drawn yet")
    paper = driver.find_element(By.CSS_SELECTOR, "#pad canvas")
    width, height = paper.size["width"], paper.size["height"]
    hand = ActionChains(driver, duration=0)
    for stroke in strokes:
        (x, y), *rest = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in stroke]
        hand.move_to_element_with_offset(paper, x, y).click_and_hold()
        for next_x, next_y in rest:
            hand.move_by_offset(next_x - x, next_y - y)
            x, y = next_x, next_y
        hand.release()
    hand.perform()


def answer(driver: Any, caption: str) -> dict[str, str]:
    """Wait until the page shows `caption` and return each view's answer."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def there(driver: Any) -> bool:
        return any(caption in seen.text for seen in driver.find_elements(By.CSS_SELECTOR, "#answers .seen"))

    WebDriverWait(driver, 60, 0.05, [StaleElementReferenceException]).until(there, f"the page never said {caption!r}")
    cards = driver.find_elements(By.CSS_SELECTOR, "#answers section")
    return {card.get_attribute("data-view"): card.get_attribute("data-answer") for card in cards}


def fetched(driver: Any) -> set[str]:
    """Return all addresses that the page requested, except inline ones (data:, blob:)."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"] for one in sent if not one["request"]["url"].startswith(("data:", "blob:"))}
