"""Folds batch normalisation into the convolution before it: equal numbers in evaluation mode, less memory traffic."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NAMED_PAIRS = (("conv", "bn"), ("conv", "norm"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))


def fold_norms(module: Module) -> Module:
    """Folds, in place, every batch norm that directly follows a convolution; the module must be in evaluation mode.

    Pairs are neighbours in a ``Sequential`` and attributes of the usual names (``conv`` and ``bn``, ``conv1`` and
    ``bn1``), for modules that apply them one right after the other. The state dict no longer fits a checkpoint after.
    """
    for child in module.modules():
        if isinstance(child, nn.Sequential):
            pairs = list(pairwise(child._modules))
        else:
            pairs = [pair for pair in NAMED_PAIRS if all(name in child._modules for name in pair)]
        for first, second in pairs:
            conv, norm = child._modules[first], child._modules[second]
            if isinstance(conv, CONVOLUTIONS) and isinstance(norm, NORMS):
                child._modules[first] = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
                child._modules[second] = nn.Identity()
    return module
