"""The Inception network of 2015-12-05 in PyTorch, written from the layer list of the specification: a second opinion.

    python tests/torch_inception.py WEIGHTS.npz

writes tests/golden/inception.npz: features and unbiased scores of a few images in all three ways of resizing, computed in
float64, with weights saved from `inception_weights.random_weights(0)`; and state_dict files in both of PyTorch's containers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

GOLDEN = Path(__file__).parents[1] / "golden"


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def average(x):
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class A(nn.Module):
    def __init__(self, inputs, pool):
        super().__init__()
        self.branch1x1 = Unit(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Unit(inputs, 48, 1), Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 64, 1), Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3, self.branch_pool = Unit(96, 96, 3, padding=1), Unit(inputs, pool, 1)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(average(x))], 1)


class B(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch3x3 = Unit(288, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(288, 64, 1), Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, 2)

    def forward(self, x):
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class C(nn.Module):
    def __init__(self, c):
        super().__init__()
        row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Unit(768, 192, 1)
        self.branch7x7_1, self.branch7x7_2, self.branch7x7_3 = Unit(768, c, 1), Unit(c, c, **row), Unit(c, 192, **column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Unit(768, c, 1), Unit(c, c, **column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Unit(c, c, **row), Unit(c, c, **column)
        self.branch7x7dbl_5, self.branch_pool = Unit(c, 192, **row), Unit(768, 192, 1)

    def forward(self, x):
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(average(x))], 1)


class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Unit(768, 192, 1), Unit(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Unit(768, 192, 1), Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3, self.branch7x7x3_4 = Unit(192, 192, (7, 1), padding=(3, 0)), Unit(192, 192, 3, 2)

    def forward(self, x):
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class E(nn.Module):
    def __init__(self, inputs, pool):
        super().__init__()
        self.pool = pool
        row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        self.branch1x1, self.branch3x3_1 = Unit(inputs, 320, 1), Unit(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Unit(384, 384, **row), Unit(384, 384, **column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 448, 1), Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Unit(384, 384, **row), Unit(384, 384, **column)
        self.branch_pool = Unit(inputs, 192, 1)

    def forward(self, x):
        narrow, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(narrow), self.branch3x3_2b(narrow)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(self.pool(x))]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Unit(3, 32, 3, 2), Unit(32, 32, 3)
        self.Conv2d_2b_3x3, self.Conv2d_3b_1x1 = Unit(32, 64, 3, padding=1), Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a = A(192, 32), A(256, 64), A(288, 64), B()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = C(128), C(160), C(160), C(192)
        self.Mixed_7a, self.Mixed_7b = D(), E(1280, average)
        self.Mixed_7c = E(2048, lambda x: F.max_pool2d(x, 3, 1, 1))
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        x = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T


def resize(images, mode):
    """uint8 [batch, side, side, 3] to [batch, 3, 299, 299] in float64, each way by other means than ours."""
    if mode == "tf1":
        side = images.shape[1]
        source = (np.arange(299, dtype=np.float32) * np.float32(side / 299)).astype(np.float64)
        low = np.floor(source).astype(int)
        high, share = np.minimum(low + 1, side - 1), source - low
        x = images.astype(np.float64)
        x = x[:, low] * (1 - share)[None, :, None, None] + x[:, high] * share[None, :, None, None]
        x = x[:, :, low] * (1 - share)[None, None, :, None] + x[:, :, high] * share[None, None, :, None]
        return torch.from_numpy((x - 128) / 128).permute(0, 3, 1, 2)
    if mode == "pytorchfid":
        x = torch.from_numpy(images).permute(0, 3, 1, 2).double()
        return F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) / 127.5 - 1
    planes = [Image.fromarray(plane.astype(np.float32)) for image in images for plane in np.moveaxis(image, -1, 0)]
    x = np.stack([np.asarray(plane.resize((299, 299), Image.BICUBIC), np.float64) for plane in planes])
    x = x.reshape(len(images), 3, 299, 299)
    return torch.from_numpy((np.clip(x, 0, 255) - 128) / 128)


def network(weights):
    """In evaluation form, float64, with weights by state_dict names."""
    module = Inception().double().eval()
    state = {name: torch.from_numpy(array).double() for name, array in weights.items()}
    missing = module.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return module


def main():
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.helpers.inception_images import golden_images

    weights = dict(np.load(sys.argv[1]))
    module = network(weights)
    found = {}
    with torch.no_grad():
        for side in (64, 128, 512):
            for mode in ("tf1", "pytorchfid", "clean"):
                features, scores = module(resize(golden_images(side), mode))
                found[f"{mode}_{side}_features"] = features.numpy().astype(np.float32)
                found[f"{mode}_{side}_scores"] = scores.numpy().astype(np.float32)[:, :64]
    np.savez_compressed(GOLDEN / "inception.npz", **found)
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"plain": base, "strided": base.T[1:4:2, ::2], "half": torch.tensor([0.5, -2.0]).half(), "count": torch.tensor(7)}
    for name, is_zip in (("zip", True), ("legacy", False)):
        torch.save(state, GOLDEN / f"state_dict_{name}.pth", _use_new_zipfile_serialization=is_zip)


if __name__ == "__main__":
    main()
