"""What all backbones share: a library's network, the features that it gives, and how its input is normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from torch import Tensor, nn

from models.backbones.format import IMAGENET, Normalization

TIMM = "timm:"
"""Before the names of timm's models, which are none of ours."""


def unchanged(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Return an entry of a state dict as it is."""
    return name, value


class Backbone(nn.Module):
    """A ConvNet without its classifier, which gives vectors, maps, or both.

    Args:
        network: the library's module, so that its state dicts fit.
        path: names of the submodules of ``network`` that are called one after another.
        taps: for each feature the submodule on the path whose output it is; the first is what ``forward`` returns.
        feature_dim: D of the first feature.
        input_size: height and width that it expects, in pixels.
        channels: C, 3 for rgb or 2L for flow.
        first_conv: state-dict name of the first convolution's kernel.
        head: prefixes of the classifiers' names in the library's state dicts.
        translate: turns an entry of the library's state dicts into one of ``network``'s, where they differ.
        normalization: of its input, as the library's weights expect it.
        dropout: the submodule of ``network`` that drops features in training, of a network that has one.

    Attributes:
        format: what it takes: size and channels of an input, and its normalisation.
        turned: how many neighbouring channels the weights expect in reverse order: 3 for blue first, 2 for flow with
            y before x, 1 for none. Inputs are red first, and x before y, all the same.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        path: Sequence[str],
        taps: Mapping[str, str],
        feature_dim: int,
        input_size: int,
        channels: int,
        first_conv: str,
        head: Sequence[str],
        translate: Callable[[str, Tensor], tuple[str, Tensor]] = unchanged,
        normalization: Normalization = IMAGENET,
        dropout: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.path, self.taps = tuple(path), dict(taps)
        self.feature_dim = feature_dim
        self.first_conv, self.head, self.translate = first_conv, tuple(head), translate
        self._dropout = dropout
        self.format, self.turned = normalization.of(input_size, channels), normalization.turned(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``x (N, C, H, W)``, normalised, into its first feature: ``(N, D)``, unless cut off before."""
        return self.features(x, next(iter(self.taps)))

    def features(self, x: Tensor, name: str) -> Tensor:
        """Turn ``x (N, C, H, W)`` into the feature of a name, ``(N, D)`` or ``(N, C, H, W)``; nothing beyond it runs.

        Raises:
            ValueError: if this backbone gives no such feature.
        """
        x = self._as_expected(x)
        for step in self._path_to(name):
            x = self.network.get_submodule(step)(x)
        return x

    def drop(self, share: float) -> None:
        """Set the share of features, 0 to 1, that is dropped inside of it in training.

        Raises:
            ValueError: if none are.
        """
        if self._dropout is None:
            raise ValueError(f"backbone dropout: got {share}, allowed: none, since nothing is dropped inside of it")
        layer = self.network.get_submodule(self._dropout)
        assert isinstance(layer, nn.Dropout)
        layer.p = share

    def cut(self, name: str) -> Backbone:
        """Drop what comes after a feature, which becomes the only one, and return the backbone itself.

        Training on maps needs it, so that no weight is left without a gradient.

        Raises:
            ValueError: if this backbone gives no such feature.
        """
        kept = self._path_to(name)
        for step in set(self.path) - set(kept):
            self.network.set_submodule(step, nn.Identity())
        self.path, self.taps = kept, {name: self.taps[name]}
        return self

    def _as_expected(self, x: Tensor) -> Tensor:
        """Return an input ``(N, C, H, W)`` with its channels in the order that the weights expect."""
        return x if self.turned == 1 else x.reshape(len(x), -1, self.turned, *x.shape[2:]).flip(2).reshape(x.shape)

    def _path_to(self, name: str) -> tuple[str, ...]:
        if name not in self.taps:
            raise ValueError(f"backbone feature: got {name!r}, allowed: {', '.join(self.taps)}")
        tap = self.taps[name]
        return (*takewhile(lambda step: step != tap, self.path), tap)


def with_channels(conv: nn.Module, channels: int) -> nn.Conv2d:
    """Return a new first convolution for another number of channels, drawn as torchvision's ResNet draws it."""
    assert isinstance(conv, nn.Conv2d)
    kernel_size, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])  # all square
    wide = nn.Conv2d(channels, conv.out_channels, kernel_size, stride, padding, bias=conv.bias is not None)
    nn.init.kaiming_normal_(wide.weight, mode="fan_out", nonlinearity="relu")
    if wide.bias is not None:
        nn.init.zeros_(wide.bias)
    return wide
