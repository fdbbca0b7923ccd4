"""Relational LSTM in plain loops over videos, steps, positions: equations 2 to 4, section 4. No code of models/."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Relation = tuple[tuple[Tensor, Tensor], ...]  # weight and bias of theta, phi, g

EPS = 1e-5


def affine(layer: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    return layer[0] @ x + layer[1]


def relation(layers: Relation, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> list[Tensor]:
    """Equation 2 with equation 4: a vector for every position of ``xs``."""
    theta, phi, g = layers
    z = []
    for x in xs:
        f = [torch.exp(affine(theta, x) @ affine(phi, y)) for y in ys]  # equation 4
        total = sum(f)
        z.append(sum(f_j / total * affine(g, y) for f_j, y in zip(f, ys, strict=True)))
    return z


def step(
    r_x: Sequence[Relation], r_h: Sequence[Relation], xs: list[Tensor], hs: list[Tensor], cs: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Equation 3; relations of the gates in the order i, f, o, g."""
    from_x = [relation(layers, xs, xs) for layers in r_x]
    from_h = [relation(layers, xs, hs) for layers in r_h]
    new_h, new_c = [], []
    for n, c in enumerate(cs):
        i, f, o = (torch.sigmoid(from_x[gate][n] + from_h[gate][n]) for gate in range(3))
        g = torch.tanh(from_x[3][n] + from_h[3][n])
        new_c.append(f * c + i * g)
        new_h.append(o * torch.tanh(new_c[-1]))
    return new_h, new_c


def norm(state: State, name: str, x: Tensor) -> Tensor:
    """Batch norm of one vector (C,) by moving figures (section 5.2)."""
    scaled = (x - state[f"{name}.running_mean"]) / torch.sqrt(state[f"{name}.running_var"] + EPS)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def conv3x3(kernel: Tensor, pixels: list[list[Tensor]]) -> list[list[Tensor]]:
    """A convolution with zeros around, pixel by pixel."""
    height, width = len(pixels), len(pixels[0])
    out = []
    for y in range(height):
        row = []
        for x in range(width):
            total = torch.zeros(len(kernel), dtype=kernel.dtype, device=kernel.device)
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        total = total + kernel[:, :, dy + 1, dx + 1] @ pixels[y + dy][x + dx]
            row.append(total)
        out.append(row)
    return out


def conv5_3(state: State, name: str, pixels: list[list[Tensor]]) -> Tensor:
    """The pre-activation unit, batch norm, ReLU, and the mean over positions."""
    unit = f"{name}.unit"
    one, three = state[f"{unit}.conv1.weight"][:, :, 0, 0], state[f"{unit}.conv3.weight"][:, :, 0, 0]
    inner = [[torch.relu(norm(state, f"{unit}.norm2", one @ torch.relu(norm(state, f"{unit}.norm1", x)))) for x in row]
             for row in pixels]  # fmt: skip
    inner = conv3x3(state[f"{unit}.conv2.weight"], inner)
    total: Tensor = torch.zeros(len(three), dtype=three.dtype, device=three.device)
    for row, residuals in zip(pixels, inner, strict=True):
        for x, y in zip(row, residuals, strict=True):
            out = x + three @ torch.relu(norm(state, f"{unit}.norm3", y))
            total = total + torch.relu(norm(state, f"{name}.norm", out))
    return total / (len(pixels) * len(pixels[0]))


def split_relations(
    state: State, hidden: int, embedding: int, *, shared_theta: bool
) -> tuple[list[Relation], list[Relation]]:
    """Cut the rows of ``models.parts.relational_module``'s two products into the 24 embeddings of equation 3."""

    def layers(name: str, widths: Sequence[int]) -> list[list[tuple[Tensor, Tensor]]]:
        weight = state[f"relational.{name}.weight"]
        bias = state.get(f"relational.{name}.bias", torch.zeros(len(weight), dtype=weight.dtype, device=weight.device))
        first, found = 0, []
        for width in widths:
            found.append([])
            for _ in range(4):
                found[-1].append((weight[first : first + width], bias[first : first + width]))
                first += width
        assert first == len(weight)
        return found

    theta_x, phi_x, g_x, *rest = layers("inputs", [embedding, embedding, hidden] + [embedding] * (not shared_theta))
    theta_h = theta_x if shared_theta else rest[0]
    phi_h, g_h = layers("state", [embedding, hidden])
    return list(zip(theta_x, phi_x, g_x, strict=True)), list(zip(theta_h, phi_h, g_h, strict=True))


def relational(state: State, maps: Tensor, *, embedding: int, shared_theta: bool = False) -> list[list[Tensor]]:
    """Run the module over one video ``(T, C, H, W)``: the pixels (C,) after the 1x1 convolution."""
    height, width = maps.shape[2:]
    up = state["relational.up.weight"][:, :, 0, 0]
    up_bias = state.get("relational.up.bias", torch.zeros(len(up), dtype=up.dtype, device=up.device))
    hidden = up.shape[1]
    r_x, r_h = split_relations(state, hidden, embedding, shared_theta=shared_theta)
    hs = cs = [torch.zeros(hidden, dtype=maps.dtype, device=maps.device)] * (height * width)  # section 4: H_0 is zero
    for frame in maps:
        xs = [norm(state, "relational.norm", frame[:, y, x]) for y in range(height) for x in range(width)]
        hs, cs = step(r_x, r_h, xs, hs, cs)
    return [[up @ hs[y * width + x] + up_bias for x in range(width)] for y in range(height)]


def video(state: State, maps: Tensor, *, embedding: int, branches: str = "both", shared_theta: bool = False) -> Tensor:
    """Return the scores (K,) of one video ``(T, C, H, W)`` (section 4)."""
    parts = []
    if branches != "non-local":
        frames = [[[frame[:, y, x] for x in range(maps.shape[3])] for y in range(maps.shape[2])] for frame in maps]
        parts.append(sum(conv5_3(state, "local", pixels) for pixels in frames) / len(maps))
    if branches != "local":
        pixels = relational(state, maps, embedding=embedding, shared_theta=shared_theta)
        parts.append(conv5_3(state, "non_local", pixels))
    return affine((state["classifier.weight"], state["classifier.bias"]), torch.cat(parts))
