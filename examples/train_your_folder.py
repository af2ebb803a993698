"""Train a network and its CRF on a folder of images and masks, export both, and prove that the file is the same model.

    python examples/train_your_folder.py DATA RUN [KEY=VALUE ...]

DATA holds classes.yaml, train/images, train/masks, val/images and val/masks (docs/data.md). KEY=VALUE change settings,
such as unary.epochs=100 or data.crop=[256,256] (docs/training.md).
"""

import sys
from pathlib import Path

from segtool.data import open_dataset
from segtool.export.comparison import Case
from segtool.export.onnx_export import export_onnx
from segtool.export.verify import verify
from segtool.runtime import load
from segtool.train.config.presets import load_config
from segtool.train.stages.piecewise import PiecewiseTrainer


def main(data: Path, run: Path, settings: list[str]) -> None:
    spec = f"folder:{data}"
    config = load_config("quickstart", settings)
    trainer = PiecewiseTrainer(config, spec, run, ["unary", "crf", "joint"])
    trainer.prepare()  # reads every image and mask; what is wrong with them is said here
    card = trainer.run()
    assert card.validation is not None
    print("mIoU of the network", card.validation.before_crf.miou, "and after the CRF", card.validation.after_crf)

    file = run / "model.onnx"
    export_onnx(run, file)
    images = open_dataset(spec, "val")
    cases = (Case(*images.load(index)) for index in range(min(5, len(images))))
    for record in verify(run, file, cases):
        print(record.backend, f"{100 * record.label_agreement:.3f} % of the labels are those of PyTorch")

    prediction = load(file)(images.load(0).image)  # without PyTorch
    print("classes of the first image:", sorted({card.names[label] for label in prediction.labels.ravel()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
