"""One stage of training as a Lightning module.

`unary` trains the network; `crf` the CRF with the network fixed; `joint` all, through the unrolled mean field, as Zheng
et al., "Conditional Random Fields as Recurrent Neural Networks" (ICCV 2015), do from the start. `control` trains the
network on as `joint` does but without the CRF, so that a comparison is fair.
"""

from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from segtool.card import Scores
from segtool.evaluation.boundaries import Truth
from segtool.evaluation.counts import TOLERANCES, Counts, count_image
from segtool.evaluation.evaluate import card_scores
from segtool.evaluation.scores import set_scores
from segtool.train import distributed
from segtool.train.config.settings import JointStageConfig, StageConfig, TrainConfig
from segtool.train.losses import SegmentationLoss
from segtool.train.networks import Segmenter
from segtool.train.optimizers import build_optimizer, build_schedule, network_groups
from segtool.train.seeds import seed_of

StageName = Literal["unary", "crf", "joint", "control"]


class StageModule(L.LightningModule):
    """Trains what its stage trains; validates before and after the CRF on whole images."""

    def __init__(
        self, stage: StageName, segmenter: Segmenter, config: TrainConfig, criterion: SegmentationLoss
    ) -> None:
        super().__init__()
        self.stage, self.segmenter, self.criterion = stage, segmenter, criterion
        self.stage_config: StageConfig = stage_config(config, stage)
        self.train_iterations = config.crf.iterations
        self.unary_loss = config.joint.unary_loss
        self.uses_crf = stage in ("crf", "joint")
        self.seed, self.mixed_precision = config.seed, config.precision != "32-true"
        self.before, self.after = self._no_counts(), self._no_counts()
        self._gathered = False
        # Lightning leaves the mode as it is, and a segmenter that was loaded is not in that of training.
        self.segmenter.train().network.train(stage != "crf").requires_grad_(stage != "crf")
        if isinstance(self.stage_config, JointStageConfig) and self.stage_config.freeze_batch_norm:
            _freeze_batch_norm(self.segmenter.network)

    def is_finite(self) -> bool:
        """Whether all weights are numbers: once one is not, training can only go on with none."""
        return all(bool(weights.isfinite().all()) for weights in self.segmenter.parameters())

    def _no_counts(self) -> Counts:
        return Counts.zeros(self.criterion.classes)

    def training_step(self, batch: tuple[Tensor, ...], number: int) -> dict[str, Tensor]:
        # For dropout and the like: a step depends on where it is, not on what ran before it.
        torch.manual_seed(seed_of(self.seed, self.stage, self.current_epoch, number, distributed.rank()))
        loss = self.loss(batch)
        self.log(f"{self.stage}/loss", loss)
        return {"loss": loss * self._accumulation_share(number), "batch_loss": loss.detach()}

    def _accumulation_share(self, number: int) -> float:
        """Lightning divides by the batches of a whole step; in a last step of fewer that would be too much."""
        whole, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        rest = batches % whole
        return whole / rest if number >= batches - rest else 1.0

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss of (image, labels), or in stage `crf` of (unary logits, image, labels)."""
        image, labels = batch[-2:]
        unary = batch[0] if self.stage == "crf" else self.segmenter.unary(image)
        if not self.uses_crf:
            return self._criterion(unary, labels)
        assert self.segmenter.crf is not None
        loss = self._criterion(self.segmenter.crf(unary, image, self.train_iterations), labels)
        if self.stage == "joint" and self.unary_loss:
            loss = loss + self.unary_loss * self._criterion(unary, labels)
        return loss

    def _criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.criterion(logits, labels, distributed.average)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.before, self.after = self._no_counts(), self._no_counts()
        self._gathered = False

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        image, labels = batch
        unary = self.segmenter.unary(image.float())
        self.before += self._count(unary, labels)
        if self.uses_crf:
            assert self.segmenter.crf is not None
            self.after += self._count(self.segmenter.crf(unary, image.float()), labels)

    def finish_validation(self) -> None:
        """Adds up what all processes have counted, and logs the scores. The first callback that needs them calls it."""
        if self._gathered:
            return
        self._gathered = True
        everywhere = distributed.gathered((self.before, self.after))
        self.before, self.after = self._no_counts(), self._no_counts()
        for before, after in everywhere:
            self.before += before
            self.after += after
        before_crf, after_crf = self.scores()
        self.log("miou", (after_crf or before_crf).miou)  # what schedules and early stopping look at
        for name, scores in (("unary", before_crf), ("crf", after_crf)):
            if scores is not None:
                self.log_dict({f"{self.stage}/{name}_{key}": value for key, value in scores.model_dump().items()})

    def on_validation_epoch_end(self) -> None:
        self.finish_validation()

    def _count(self, logits: Tensor, labels: Tensor) -> Counts:
        predicted, truth = (t[0].to("cpu", torch.uint8).numpy() for t in (logits.argmax(1), labels))
        return count_image(predicted, Truth(truth, self.criterion.classes, TOLERANCES))

    def scores(self) -> tuple[Scores, Scores | None]:
        """Before and after the CRF (None in stages without one), of the last validation."""
        before, after = (card_scores(set_scores(c)) for c in (self.before, self.after))
        return before, after if self.uses_crf else None

    def configure_optimizers(self) -> Any:
        config = self.stage_config
        groups = [] if self.stage == "crf" else network_groups(self.segmenter.network, config.learning_rate)
        if self.uses_crf:
            assert self.segmenter.crf is not None
            rate = config.crf_learning_rate if isinstance(config, JointStageConfig) else config.learning_rate
            crf = list(self.segmenter.crf.parameters())
            groups.append({"name": "crf", "params": crf, "lr": rate, "weight_decay": 0.0})
        optimizer = build_optimizer(config, groups, fused=not self.mixed_precision)
        schedule = build_schedule(config, optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, **({} if schedule is None else {"lr_scheduler": schedule})}


def _freeze_batch_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def stage_config(config: TrainConfig, stage: StageName) -> StageConfig:
    """The settings of a stage; `control` has those of `joint`."""
    return {"unary": config.unary, "crf": config.crf, "joint": config.joint, "control": config.joint}[stage]
