"""The report as a reader uses it, in headless Chromium, from disk."""

import numpy as np
import pytest

from segtool.evaluation.output import evaluate_into
from segtool.evaluation.workers import Workers

from .test_failures import Model, Streets

CLOSE = 1.5  # pixels


class Sharpened(Model):
    """As after a CRF: before it, the left half of every image was ground."""

    def __call__(self, image):
        found = super().__call__(image)
        unary = found.labels.copy()
        unary[:, : unary.shape[1] // 2] = 0
        return found._replace(unary_labels=unary)

    def labels_by_kernel(self, image):
        return {"spatial": self(image).unary_labels, "bilateral": self(image).labels}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    with Workers(lambda: (Sharpened(wrong=(7, 23)), Streets(wrong_labels=(12,)))) as workers:
        evaluate_into(out, workers, threshold=0.8, about={"model": "<i>model</i>", "data": "streets"})
    return out / "report.html"


@pytest.fixture
def page(browser, report):
    browser.set_window_size(1280, 1000)
    browser.get(report.as_uri())
    return browser


def names(page):
    return [cell.text for cell in page.find_elements("css selector", "#table tbody .name")]


def heading(page, title):
    return next(b for b in page.find_elements("css selector", "#table th button") if b.text == title)


def choose(page, selector, text):
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("css selector", selector)).select_by_visible_text(text)


def columns_fit(page):
    return page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.browser
def test_it_loads_nothing_and_reports_no_error(page, report):
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert page.get_log("browser") == []
    text = report.read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")  # namespaces of SVG
    assert "<i>model</i>" not in text


@pytest.mark.browser
def test_the_head_says_what_matters(page):
    text = page.find_element("tag name", "body").text
    assert "3 of 50 images have an mIoU below 80 %: wrong class 2, label suspected 1" in text
    assert "Look at the labels of street_12." in text
    assert "by CRF" in page.find_element("css selector", ".tile").text


@pytest.mark.browser
def test_worst_image_first_and_sorting_turns_round(page):
    assert set(names(page)[:3]) == {"street_07", "street_12", "street_23"}
    heading(page, "image").click()
    assert names(page) == sorted(names(page))
    assert len(names(page)) == 50
    heading(page, "image").click()
    assert names(page) == sorted(names(page))[::-1]
    assert page.find_element("css selector", "th[aria-sort]").get_attribute("aria-sort") == "descending"


@pytest.mark.browser
def test_filters(page):
    choose(page, ".value-filter[data-key=kind]", "label suspected")
    assert names(page) == ["street_12"]
    assert page.find_element("id", "count").text == "1 of 50"
    choose(page, ".value-filter[data-key=kind]", "any")
    page.find_element("id", "name-filter").send_keys("_4")
    assert len(names(page)) == 10
    page.find_element("id", "name-filter").clear()
    choose(page, "#class-filter", "house")
    assert "class IoU" in [b.text for b in page.find_elements("css selector", "#table th button")]
    assert names(page)[0] in {"street_07", "street_12", "street_23"}


@pytest.mark.browser
def test_viewer_shows_layers_with_opacity_and_walks_on(page):
    page.find_element("css selector", "#table tbody tr").click()
    shown = page.find_element("id", "viewer-name").text
    assert shown in {"street_07", "street_12", "street_23"}
    sources = {}
    for radio in page.find_elements("css selector", "#layers input"):
        radio.click()
        sources[radio.get_attribute("value")] = page.find_element("id", "viewer-layer").get_attribute("src")
    assert list(sources) == ["image", "truth", "before CRF", "prediction", "errors"]
    assert len(set(sources.values())) == 5
    page.execute_script(
        "const o = document.getElementById('opacity'); o.value = 30; o.dispatchEvent(new Event('input'))"
    )
    assert page.find_element("id", "viewer-layer").value_of_css_property("opacity") == "0.3"
    layer, image = (page.find_element("id", f"viewer-{name}").rect for name in ("layer", "image"))
    assert all(abs(layer[side] - image[side]) < CLOSE for side in ("x", "y", "width", "height"))
    page.find_element("id", "next").click()
    assert page.find_element("id", "viewer-name").text not in ("", shown)
    page.find_element("id", "previous").click()
    assert page.find_element("id", "viewer-name").text == shown


@pytest.mark.browser
def test_error_layer_is_red_where_the_prediction_is_wrong(page):
    choose(page, ".value-filter[data-key=kind]", "label suspected")
    pixels = page.execute_async_script("""
        const done = arguments[0], image = new Image();
        image.onload = () => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            done([...context.getImageData(0, 0, image.width, image.height).data]);
        };
        image.src = data.cards.find((card) => card.image === "street_12").layers.errors;
    """)
    rgba = np.array(pixels).reshape(60, 80, 4)
    house = np.zeros((60, 80), bool)
    house[15:45, 20:60] = True
    assert (rgba[house] == (230, 30, 30, 255)).all()
    assert (rgba[~house][:, 3] == 0).all()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_sticks_out(page, width):
    page.set_window_size(width, 900)
    assert columns_fit(page) <= 0
