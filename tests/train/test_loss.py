"""Losses: what they see and what they do not."""

from __future__ import annotations

import pytest
import torch

from speckleflow.train.loss import broad_loss, scene_loss


def test_broad_errors_count_by_what_lies_behind_them():
    """Of two errors of the same size the one that does not average out costs more."""
    truth = torch.zeros(1, 2, 96, 96)
    sign = (torch.arange(96)[:, None] + torch.arange(96)) % 2 * 2.0 - 1
    broad, fine = truth + 0.01, truth + 0.01 * sign
    assert float(scene_loss(broad, truth)) == pytest.approx(float(scene_loss(fine, truth)))
    assert float(broad_loss(broad, truth)) > float(broad_loss(fine, truth)) + 3


def test_broad_loss_teaches():
    """Its gradient is that of finite differences."""
    key = torch.Generator().manual_seed(1)
    found = (0.1 * torch.randn(1, 2, 48, 48, generator=key)).requires_grad_()
    (given,) = torch.autograd.grad(broad_loss(found, torch.zeros_like(found)), found)
    step = 1e-2 * torch.randn(found.shape, generator=key)
    with torch.no_grad():
        zero = torch.zeros_like(found)
        change = (broad_loss(found + step, zero) - broad_loss(found - step, zero)) / 2
    assert float(change) == pytest.approx(float((given * step).sum()), rel=0.02)
