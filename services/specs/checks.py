"""What must fit together for a network to be trained: told at submission, not hours later by a stage.

Each check raises `refused`, which names the field, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.errors import refused
from services.specs.backbone import BATCH_NORM, FEATURES, PRETRAINED, TIMM, BackboneSpec, features_of
from services.specs.parts import EvaluationSpec, FusionSpec, NetworkPart, ResourceSpec
from services.specs.training import BATCH_NORM_REASON, BATCH_NORM_SAMPLES, TrainingSpec

UNLESS_FRAMES = "unless backbone.end_to_end is given or model.classifier is finetuned"
"""Where a network sees frames."""
FREE = {"dropout", "momentum", "partial_batch_norm", "segments", "threshold", "empty_memory", "weights"}
"""Options of a network on which no weight's shape depends."""


def require_features(network: NetworkPart) -> None:
    """Backbones give the features and have the weights that are asked for, and maps of two streams are of one size."""
    for stream in network.streams:
        backbone, form = network.backbones[stream], network.model.features[stream]
        field, features = network.field("backbone", stream), features_of(backbone.name, form)
        if backbone.feature is not None and backbone.feature not in features:
            why = f"since model {network.model.kind} takes a {form} of {stream}"
            raise refused(f"{field}.feature", backbone.feature, f"{' or '.join(features)}, {why}")
        if backbone.weights == "imagenet" and not backbone.name.startswith(TIMM) and backbone.name not in PRETRAINED:
            why = f"since no library has weights of {backbone.name}"
            raise refused(f"{field}.weights", backbone.weights, f"none or a file, {why}")
    names = {stream: network.backbones[stream].name for stream in network.streams}
    if not any(name.startswith(TIMM) for name in names.values()):
        sizes = {stream: FEATURES[name][network.feature(stream)][1:] for stream, name in names.items()}
        if len(set(filter(None, sizes.values()))) > 1:
            allowed = f"a backbone with maps of {sizes['rgb']}, as rgb's; those of {names['flow']} are {sizes['flow']}"
            raise refused(f"{network.field('backbone', 'flow')}.name", names["flow"], allowed)


def require_weights(network: NetworkPart) -> None:
    """A network starts from what can be weights of its own."""
    field, weights = f"{network.field('model')}.weights", network.model.weights
    if weights == "imagenet":
        raise refused(field, weights, "none, a file, or a stage that trains them")
    if weights != "none" and network.model.is_finetuned:
        given = network.model.model_dump(mode="json", exclude_unset=True)["weights"]
        raise refused(field, given, "none with classifier finetuned")
    if network.model.kind != "video_lstm":
        for part in network.model.trained_parts:
            if part.into != "all":
                raise refused(f"{field}.into", part.into, f"all for model {network.model.kind}")


def require_steps(network: NetworkPart, look: EvaluationSpec) -> None:
    """Clips have the steps that the network cuts into segments."""
    steps, field = look.frames, "evaluation.frames"
    if network.end_to_end is not None:
        snippets = f"{network.field('backbone')}.end_to_end.snippets"
        steps, field = min((network.end_to_end.snippets, snippets), (steps, field))
    elif look.snippet is not None:
        steps, field = look.snippet, "evaluation.snippet"
    if network.model.least_steps > steps:
        segments = f"{network.field('model')}.segments"
        raise refused(segments, network.model.least_steps, f"1 to {field} = {steps}")


def require_batches(network: NetworkPart, resources: ResourceSpec) -> None:
    """Every process gets a sample of every batch, and two where batch norm takes their statistics."""
    least = network.model.least_samples
    if network.end_to_end is not None and network.model.keeps_batch_norms:
        least = max(least, *(_least_samples(network.backbones[stream]) for stream in network.streams))
    _require_batch(network.field("training"), network.training, least, resources)
    for stream in network.streams:
        backbone = network.backbones[stream]
        if backbone.finetune is not None:
            field = f"{network.field('backbone', stream)}.finetune"
            _require_batch(field, backbone.finetune, _least_samples(backbone), resources)


def _least_samples(backbone: BackboneSpec) -> int:
    return BATCH_NORM_SAMPLES if backbone.name in BATCH_NORM else 1


def _require_batch(field: str, training: TrainingSpec, least: int, resources: ResourceSpec) -> None:
    needed, size, part = least * max(1, resources.gpus), training.batch_size, training.micro_batch
    if size < needed:
        allowed = f"at least resources.gpus = {needed}" if least == 1 else f"at least {needed}"
        why = "" if least == 1 else f", {BATCH_NORM_REASON}"
        raise refused(f"{field}.batch_size", size, allowed + why)
    if isinstance(part, int) and part < least:
        raise refused(f"{field}.micro_batch", part, f"at least {least}, {BATCH_NORM_REASON}")


def require_spacing(look: EvaluationSpec) -> None:
    """Whole steps are of frames that are spaced over all of a clip."""
    if look.spacing == "whole_step" and look.snippet is not None:
        raise refused("evaluation.spacing", look.spacing, "even with evaluation.snippet")
    if look.spacing == "whole_step" and look.positions > 1:
        raise refused("evaluation.spacing", look.spacing, "even with evaluation.positions above 1")


def require_one_view(look: EvaluationSpec) -> None:
    """Features are of one view of a frame."""
    if look.crops in {"five", "ten"}:
        raise refused("evaluation.crops", look.crops, f"center or stretch, {UNLESS_FRAMES}")
    if look.positions > 1:
        raise refused("evaluation.positions", look.positions, f"1, {UNLESS_FRAMES}")


def require_finetuned(network: NetworkPart, look: EvaluationSpec, fusion: FusionSpec) -> None:
    """The fine-tuned ConvNet of one stream is there, and is not changed before it is scored."""
    field, stream = f"{network.field('model')}.classifier", network.streams[0]
    if len(network.streams) > 1:
        raise refused("fusion.method", fusion.method, f"probabilities, logits or product with {field} finetuned")
    backbone = network.backbones[stream]
    if backbone.finetune is None:
        raise refused(field, "finetuned", f"retrained, since {network.field('backbone')}.finetune is null")
    if backbone.end_to_end is not None:
        raise refused(field, "finetuned", f"retrained, since {network.field('backbone')}.end_to_end is given")
    if look.snippet is not None:
        raise refused("evaluation.snippet", look.snippet, f"null with {field} finetuned")


def require_end_to_end(network: NetworkPart, look: EvaluationSpec, fusion: FusionSpec) -> None:
    """The network can be trained with a backbone, on frames of one stream."""
    if not network.model.trains_backbone:
        allowed = "tsn, memory, relational_lstm with backbone.end_to_end"
        raise refused(f"{network.field('model')}.kind", network.model.kind, allowed)
    if look.snippet is not None:
        raise refused("evaluation.snippet", look.snippet, "null with backbone.end_to_end")
    if len(network.streams) > 1:
        allowed = "probabilities, logits or product with backbone.end_to_end"
        raise refused("fusion.method", fusion.method, allowed)


def require_attention(networks: Sequence[NetworkPart], look: EvaluationSpec) -> None:
    """Some network attends where actions are to be localised."""
    if look.localization is not None and not any(network.model.attends for network in networks):
        allowed = "alstm, conv_alstm, motion_alstm or video_lstm with evaluation.localization"
        raise refused(f"{networks[0].field('model')}.kind", networks[0].model.kind, allowed)


def require_alike(networks: Iterable[NetworkPart]) -> None:
    """A flow network that starts from the trained rgb network has weights of the same names and shapes."""
    by_streams = {network.streams: network for network in networks}
    rgb, flow = by_streams.get(("rgb",)), by_streams.get(("flow",))
    if rgb is None or flow is None or rgb.end_to_end is None or flow.end_to_end is None:
        raise refused("flow_stream.from_rgb", True, "false, unless both streams are trained end to end")
    own, other = (
        {
            "backbone": network.backbones[network.streams[0]].name,
            "feature": network.feature(network.streams[0]),
            **network.model.model_dump(exclude=FREE),
        }
        for network in (rgb, flow)
    )
    differing = [name for name in own.keys() | other.keys() if own.get(name) != other.get(name)]
    if differing:
        allowed = f"false, unless both networks are alike; {min(differing)} differs"
        raise refused("flow_stream.from_rgb", True, allowed)
