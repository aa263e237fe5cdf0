"""Which view the others are told about as the first one."""

from __future__ import annotations

import torch
from torch import Tensor

from models.runtime.errors import InputError

STRATEGIES = ("saddle_balanced", "saddle_sim_range", "first", "middle")


def choose_reference(class_tokens: Tensor, strategy: str | int = "saddle_balanced") -> Tensor:
    """Index (B,) of the reference view, from the class tokens (B, N, C) of all views.

    ``saddle_balanced`` takes the view that is most average in three respects, each scaled to 0..1 over the views:
    likeness to the others, token length, token variance. ``saddle_sim_range`` takes the view whose similarities
    (its own counted as 0) spread widest. A number names the view itself.

    Raises:
        InputError: unknown strategy or no such view.
    """
    B, N, _ = class_tokens.shape
    fixed = {"first": 0, "middle": N // 2}.get(strategy, strategy)
    if isinstance(fixed, int):
        if not 0 <= fixed < N:
            raise InputError(f"there is no view {fixed} among {N} to be the reference")
        return torch.full((B,), fixed, dtype=torch.long, device=class_tokens.device)
    if strategy not in STRATEGIES:
        raise InputError(f"unknown reference strategy {strategy!r}; known are {', '.join(STRATEGIES)}")
    length = class_tokens.norm(dim=-1)  # (B, N)
    unit = class_tokens / length[..., None]
    similarity = unit @ unit.transpose(1, 2) - torch.eye(N, dtype=unit.dtype, device=unit.device)  # (B, N, N)
    if strategy == "saddle_sim_range":
        return (similarity.amax(-1) - similarity.amin(-1)).argmax(-1)
    likeness = similarity.sum(-1) / max(N - 1, 1)
    measures = torch.stack([likeness, length, unit.var(dim=-1)])  # (3, B, N)
    low, high = measures.amin(-1, keepdim=True), measures.amax(-1, keepdim=True)
    return (((measures - low) / (high - low + 1e-8)) - 0.5).abs().sum(0).argmin(-1)


def reference_first(reference: Tensor, views: int) -> Tensor:
    """The order (B, N) that puts the view ``reference`` (B,) first and keeps the others in their order."""
    place = torch.arange(views, device=reference.device).expand(len(reference), -1)
    rank = torch.where(place == reference[:, None], -1, place)
    return rank.argsort(dim=1)


def take_views(x: Tensor, order: Tensor) -> Tensor:
    """Views of (B, N, ...) in the order (B, N)."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]
