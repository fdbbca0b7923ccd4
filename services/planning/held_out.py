"""What a training holds out of its train list, and how a ConvNet below it is kept from the same clips."""

from __future__ import annotations

from services.datasets.layouts import Layout
from services.params import HeldOutBy
from services.specs import FinetuneSpec, NetworkPart, TrainingSpec

_OWN = frozenset(FinetuneSpec.model_fields) - frozenset(TrainingSpec.model_fields)


def held_out_by(training: TrainingSpec, layout: Layout) -> HeldOutBy:
    """Return what a training holds out as a whole, if it holds a part of its train list out."""
    return "film" if layout == "hmdb51" and training.held_out == "validation" else "group"


def of_convnet(recipe: FinetuneSpec, network: NetworkPart) -> TrainingSpec:
    """Return how a ConvNet is trained on which a network stands.

    Where clips that are held out choose the network's epoch, the ConvNet may not have learned them, or their accuracy
    says more than it should. What has no choice of its own holds the same clips out, as with ``validate``.
    """
    training = TrainingSpec.model_validate(recipe.model_dump(exclude=set(_OWN)))
    head = network.training
    if network.model.is_finetuned or head.selection != "validation" or training.held_out is not None:
        return training
    return training.model_copy(update={"validate": True, "validation_share": head.validation_share})
