"""Sends `segtool serve`'s application bodies that name files and addresses, in a process of its own: MODEL SECRET."""

import json
import sys
from pathlib import Path

from segtool.runtime.serving.application import build_application
from tests.runtime.serving.local import LIMITS, SEGMENT, Local, asker


def main() -> None:
    """Each must be refused."""
    model, secret = Path(sys.argv[1]), sys.argv[2]
    local = Local(model)
    ask = asker(build_application(local, {"tiny": local.model.card}, LIMITS))
    named = [
        secret,
        f"file://{secret}",
        "http://127.0.0.1:9/a.png",
        "data:image/png;base64,AAAA",
        "../secret/weights.bin",
    ]
    for text in named:
        for body in (text, {"image": text}, {"image": {"url": text}}, {"url": text}, [text]):
            answer = ask("POST", SEGMENT, content=json.dumps(body), headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, answer.text
        assert ask("POST", SEGMENT, content=text.encode()).status_code in (400, 415)
        assert ask("POST", f"/models/{text}/segment", content=b"x").status_code in (400, 404, 405)
        assert ask("GET", f"/static-offline-docs/{text}").status_code in (307, 400, 404)


main()
