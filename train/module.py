"""One stage of training as a Lightning module.

`unary` trains the network; `context` the contextual CRF, edge by edge; `crf` the dense CRF with all before it fixed;
`joint` everything, through the unrolled mean fields, as Zheng et al., "Conditional Random Fields as Recurrent Neural
Networks" (ICCV 2015), do from the start. `control` trains the network on as `joint` does but without the CRFs, so that
a comparison is fair.
"""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from segtool.crf.contextual.learning import piecewise_loss, sample_edges
from segtool.train import distributed
from segtool.train.config.settings import JointStageConfig, StageName, TrainConfig
from segtool.train.config.stages import stage_of
from segtool.train.losses import SegmentationLoss
from segtool.train.networks import Segmenter
from segtool.train.optimizers import build_optimizer, build_schedule, network_groups, weight_groups
from segtool.train.seeds import seed_of
from segtool.train.validation import Validation


class StageModule(L.LightningModule):
    """Trains what its stage trains; validates before and after each CRF on whole images."""

    def __init__(
        self, stage: StageName, segmenter: Segmenter, config: TrainConfig, criterion: SegmentationLoss
    ) -> None:
        super().__init__()
        self.stage, self.segmenter, self.criterion = stage_of(stage, config), segmenter, criterion
        self.stage_config = self.stage.config(config)
        self.train_iterations = config.crf.iterations
        self.unary_loss, self.context_config = config.joint.unary_loss, config.context
        self.seed, self.mixed_precision = config.seed, config.precision != "32-true"
        self.validation = Validation(criterion.classes)
        # Lightning leaves the mode as it is, and a segmenter that was loaded is not in that of training.
        self.segmenter.train().network.train(self.stage.network).requires_grad_(self.stage.network)
        if segmenter.context is not None:
            segmenter.context.train(self.stage.context).requires_grad_(self.stage.context)
            # The loss of edges does not know the scale of the sum over them.
            segmenter.context.scale.requires_grad_(self.stage.context and not self.stage.by_edges)
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

    def loss(self, batch: tuple[Any, ...]) -> Tensor:
        """The loss of (image, labels); where the network is fixed of (logits, guide, labels), or where the contextual
        CRF learns of (features, labels), see `ContextMaps`."""
        if self.stage.by_edges:
            return self._loss_of_edges(batch)
        image, labels = batch[-2:]
        unary, contextual = self.segmenter.contextual(image) if self.stage.network else (batch[0], batch[0])
        if not self.stage.crf:
            return self._criterion(unary, labels)
        assert self.segmenter.crf is not None
        guide = self.segmenter.guide(image) if self.stage.network else image
        loss = self._criterion(self.segmenter.crf(contextual, guide, self.train_iterations), labels)
        if self.stage.network and self.unary_loss:
            loss = loss + self.unary_loss * self._criterion(unary, labels)
        return loss

    def _loss_of_edges(self, batch: tuple[Any, Any]) -> Tensor:
        """The mean over random edges; where the network is trained too, that of its logits is added."""
        context, (features, labels) = self.segmenter.context, batch
        assert context is not None
        network_loss = torch.zeros((), device=self.device)
        if self.stage.network:
            unary, features = self.segmenter.with_features(features)
            features, network_loss = context.places(features), self._criterion(unary, labels)
        count = max(1, self.context_config.edges // len(labels))
        loss, total = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for places, mask in zip(features, labels, strict=True):
            edges = sample_edges(mask, context.card.stride, context.offsets, count, self.criterion.ignore_index)
            weight = self._edge_weight(edges.first_label, edges.second_label)
            loss = loss + piecewise_loss(context.potential, places, edges, weight)
            total = total + weight.sum()
        return loss / distributed.average(total).clamp_min(torch.finfo(torch.float32).tiny) + network_loss

    def _edge_weight(self, first_label: Tensor, second_label: Tensor) -> Tensor:
        if not self.context_config.class_weights:
            return torch.ones_like(first_label, dtype=torch.float32)
        weight = self.criterion.class_weight
        return (weight[first_label] + weight[second_label]) / 2

    def _criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.criterion(logits, labels, distributed.average)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.validation.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        image, labels = batch
        logits = self.segmenter(image.float())
        crfs = {"contextual": self.segmenter.context, "refined": self.segmenter.crf}
        self.validation.add(labels, [logits.unary, *(getattr(logits, k) for k, crf in crfs.items() if crf is not None)])

    def on_validation_epoch_end(self) -> None:
        found = self.validation.scores()
        self.log("miou", found.final.miou)  # what schedules and early stopping look at
        last = "context" if self.stage.by_edges else "crf"
        for name, scores in zip(("unary", "context", last), found, strict=True):
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
        if self.stage.context and self.segmenter.context is not None:
            # With everything else potentials learn as carefully as the network that they were learned on.
            groups += weight_groups(self.segmenter.context, config.learning_rate, "context")
        optimizer = build_optimizer(config, groups, fused=not self.mixed_precision)
        schedule = build_schedule(config, optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, **({} if schedule is None else {"lr_scheduler": schedule})}


def _freeze_batch_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
