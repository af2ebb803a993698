"""One stage of training as a Lightning module.

`unary` trains the network; `crf` the CRF with the network fixed; `joint` all, through the unrolled mean field, as Zheng
et al., "Conditional Random Fields as Recurrent Neural Networks" (ICCV 2015), do from the start. `control` trains the
network on as `joint` does but without the CRF, so that a comparison is fair.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from segtool.train import distributed
from segtool.train.config.settings import JointStageConfig, TrainConfig
from segtool.train.config.stages import STAGES, StageName
from segtool.train.losses import SegmentationLoss
from segtool.train.networks import Segmenter
from segtool.train.optimizers import build_optimizer, build_schedule, network_groups
from segtool.train.seeds import seed_of
from segtool.train.validation import Validation


class StageModule(L.LightningModule):
    """Trains what its stage trains; validates before and after the CRF on whole images."""

    def __init__(
        self, stage: StageName, segmenter: Segmenter, config: TrainConfig, criterion: SegmentationLoss
    ) -> None:
        super().__init__()
        self.stage, self.segmenter, self.criterion = STAGES[stage], segmenter, criterion
        self.stage_config = self.stage.config(config)
        self.train_iterations = config.crf.iterations
        self.unary_loss = config.joint.unary_loss
        self.seed, self.mixed_precision = config.seed, config.precision != "32-true"
        self.validation = Validation(criterion.classes, self.stage.crf)
        # Lightning leaves the mode as it is, and a segmenter that was loaded is not in that of training.
        self.segmenter.train().network.train(self.stage.network).requires_grad_(self.stage.network)
        if isinstance(self.stage_config, JointStageConfig) and self.stage_config.freeze_batch_norm:
            _freeze_batch_norm(self.segmenter.network)

    def is_finite(self) -> bool:
        """Whether all weights are numbers: once one is not, training can only go on with none."""
        return all(bool(weights.isfinite().all()) for weights in self.segmenter.parameters())

    def training_step(self, batch: tuple[Tensor, ...], number: int) -> dict[str, Tensor]:
        # For dropout and the like: a step depends on where it is, not on what ran before it.
        torch.manual_seed(seed_of(self.seed, self.stage.name, self.current_epoch, number, distributed.rank()))
        loss = self.loss(batch)
        self.log(f"{self.stage.name}/loss", loss)
        return {"loss": loss * self._accumulation_share(number), "batch_loss": loss.detach()}

    def _accumulation_share(self, number: int) -> float:
        """Lightning divides by the batches of a whole step; in a last step of fewer that would be too much."""
        whole, batches = self.trainer.accumulate_grad_batches, int(self.trainer.num_training_batches)
        rest = batches % whole
        return whole / rest if number >= batches - rest else 1.0

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """The loss of (image, labels), or where the network is fixed of (unary logits, image, labels)."""
        image, labels = batch[-2:]
        unary = self.segmenter.unary(image) if self.stage.network else batch[0]
        if not self.stage.crf:
            return self._criterion(unary, labels)
        assert self.segmenter.crf is not None
        loss = self._criterion(self.segmenter.crf(unary, image, self.train_iterations), labels)
        if self.stage.network and self.unary_loss:
            loss = loss + self.unary_loss * self._criterion(unary, labels)
        return loss

    def _criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.criterion(logits, labels, distributed.average)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.validation.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        image, labels = batch
        unary = self.segmenter.unary(image.float())
        refined = None
        if self.stage.crf:
            assert self.segmenter.crf is not None
            refined = self.segmenter.crf(unary, image.float())
        self.validation.add(labels, unary, refined)

    def on_validation_epoch_end(self) -> None:
        before_crf, after_crf = self.validation.scores()
        self.log("miou", (after_crf or before_crf).miou)  # what schedules and early stopping look at
        for name, scores in (("unary", before_crf), ("crf", after_crf)):
            if scores is not None:
                self.log_dict({f"{self.stage.name}/{name}_{key}": value for key, value in scores.model_dump().items()})

    def configure_optimizers(self) -> Any:
        config = self.stage_config
        groups = network_groups(self.segmenter.network, config.learning_rate) if self.stage.network else []
        if self.stage.crf:
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
