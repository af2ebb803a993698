"""The end of a stage: a temperature for its last CRF, and the scores of its best on all validation images."""

from collections.abc import Callable
from pathlib import Path

from segtool.card import ValidationScores
from segtool.data import SegmentationDataset, absolute_spec
from segtool.evaluation.evaluate import evaluate
from segtool.evaluation.output import evaluate_into
from segtool.evaluation.workers import Workers
from segtool.train.checkpoint import load_segmenter, save_checkpoint
from segtool.train.config.settings import ReportConfig
from segtool.train.device import device
from segtool.train.predict import TorchPredictor
from segtool.train.run_folder import RunFolder
from segtool.train.stages.temperature import fit_temperature


def score_stage(
    checkpoint: Path,
    images: SegmentationDataset,
    report: Callable[[str], None],
    write: Callable[[TorchPredictor], ValidationScores] | None = None,
) -> ValidationScores:
    """Fits the temperature of a stage's best and scores it on all validation images; both go into its card.

    Args:
        checkpoint: the best of the stage, which is written anew.
        report: told the temperature.
        write: scores in the place of `evaluate`, and writes what it finds.
    """
    segmenter, card = load_segmenter(checkpoint)
    predictor = TorchPredictor(segmenter.to(device()))
    if (last := segmenter.last_crf) is not None:
        last.temperature = fit_temperature(segmenter, images)
        report(f"temperature {last.temperature:.3f}")
        crfs = {"context": segmenter.context, "crf": segmenter.crf}
        card = card.model_copy(update={name: crf and crf.to_card() for name, crf in crfs.items()})
    scores = write(predictor) if write is not None else evaluate(predictor, images).validation_scores()
    save_checkpoint(checkpoint, segmenter.cpu(), card.model_copy(update={"validation": scores}))
    return scores


def write_evaluation(
    predictor: TorchPredictor, images: SegmentationDataset, folder: RunFolder, data: str, config: ReportConfig
) -> ValidationScores:
    """Evaluates the model that a run ends with, as segtool eval does, into the run's folder.

    Args:
        data: the dataset's spec, for the report's head.
    """
    about = {"model": str(folder.path.resolve()), "data": absolute_spec(data), "split": "val"}
    with Workers(lambda: (predictor, images)) as workers:
        found, _ = evaluate_into(
            folder.path / "evaluation", workers, threshold=config.failures, about=about, history=folder.history
        )
    return found.validation_scores()
