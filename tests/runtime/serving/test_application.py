"""The endpoint's rules, without Ray: every refusal, what is read as an image, and that nothing sent makes it fail."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from segtool.runtime.serving.answers import encode
from segtool.runtime.serving.application import _REFUSALS, build_application

from .local import LIMITS, SEGMENT, asker, file_of, refused


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_mask_is_the_models_whatever_the_format(ask, local, photo, form):
    answer = ask("POST", SEGMENT, content=file_of(photo, form))
    sent = np.array(Image.open(io.BytesIO(file_of(photo, form))))
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(answer.content))), local.model(sent).labels)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["server-timing"] == "segment;dur=100.0"
    assert local.counted == [("tiny", 200)]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_base64_is_read_too(ask, local, photo, prefix):
    body = {"image": prefix + base64.b64encode(file_of(photo)).decode()}
    answer = ask("POST", SEGMENT + "?format=npz", json=body)
    arrays = np.load(io.BytesIO(answer.content), allow_pickle=False)
    expected = local.model(photo)
    np.testing.assert_array_equal(arrays["labels"], expected.labels)
    np.testing.assert_array_equal(arrays["unary_labels"], expected.unary_labels)
    np.testing.assert_allclose(arrays["confidence"], expected.confidence, atol=1e-3)


def test_an_image_is_known_by_what_it_holds(ask, photo):
    headers = {"Content-Type": "text/plain", "Content-Disposition": "attachment; filename=notes.txt"}
    assert ask("POST", SEGMENT, content=file_of(photo), headers=headers).status_code == 200


def test_nothing_of_the_uploads_metadata_is_in_the_answer(ask, photo):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    sent = file_of(photo, "PNG", exif=exif)
    assert b"secret place" in sent
    for form in ("png", "rle", "npz"):
        assert b"secret" not in ask("POST", f"{SEGMENT}?format={form}", content=sent).content


def test_a_password_is_asked_of_everything_but_health(local, photo):
    ask = asker(build_application(local, {"tiny": local.model.card}, LIMITS, ("me", "se:cret")))
    for path in ("/models", "/docs", "/openapi.json", "/nothing"):
        assert ask("GET", path).status_code == 401, path
    answer = ask("POST", SEGMENT, content=file_of(photo))
    refused(answer, 401, "name or password")
    assert answer.headers["www-authenticate"].startswith("Basic")
    for wrong in (("me", "guess"), ("you", "se:cret"), ("", "")):
        assert ask("POST", SEGMENT, content=file_of(photo), auth=wrong).status_code == 401
    assert (
        ask("POST", SEGMENT, content=file_of(photo), headers={"Authorization": "Basic é".encode()}).status_code == 401
    )
    assert ask("POST", SEGMENT, content=file_of(photo), auth=("me", "se:cret")).status_code == 200
    assert ask("GET", "/health").text == "ok"
    assert ask("GET", "/ready").status_code == 200


def test_ready_names_the_models_that_do_not_run(ask, local):
    assert ask("GET", "/ready").status_code == 200
    local.gone = ["tiny"]
    try:
        refused(ask("GET", "/ready"), 503, "not running: tiny")
    finally:
        local.gone = []


@pytest.mark.parametrize("path", ["/health", "/ready", "/models", "/docs"])
def test_head_is_answered_as_get(ask, path):
    assert ask("HEAD", path).status_code == 200
    assert ask("HEAD", SEGMENT).status_code == 405


def test_models_are_described(ask, local):
    [model] = ask("GET", "/models").json()
    assert model["name"] == "tiny"
    assert [c["name"] for c in model["classes"]] == local.model.card.names
    assert model["limits"] == {"file_bytes": 60_000, "pixels": 20_000}


def test_the_api_is_documented_without_the_network(ask):
    page = ask("GET", "/docs").text
    assert "swagger" in page
    assert "https://" not in page.replace("https://fastapi.tiangolo.com/img/favicon.png", "")
    operation = ask("GET", "/openapi.json").json()["paths"]["/models/{model}/segment"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/octet-stream", "application/json"}
    assert {str(status) for status in _REFUSALS} <= set(operation["responses"])


def test_run_lengths_are_cocos(local, photo):
    from pycocotools import mask as coco

    prediction = local.model(photo)
    body, media_type = encode(prediction, local.model.card, "rle")
    assert media_type == "application/json"
    found = json.loads(body)
    assert (found["height"], found["width"]) == (97, 131)
    assert {c["id"] for c in found["classes"]} == set(np.unique(prediction.labels))
    for entry in found["classes"]:
        mask = coco.decode(coco.frPyObjects(entry["segmentation"], 97, 131))
        np.testing.assert_array_equal(mask, prediction.labels == entry["id"])
        assert entry["pixels"] == mask.sum()
        assert entry["share"] == pytest.approx(mask.mean())
        assert entry["mean_confidence"] == pytest.approx(prediction.confidence[mask > 0].mean(), abs=1e-3)
