"""One Adam for all trials of a fused model, with a learning rate and a weight decay for each.

It takes as many kernels as Adam of one trial. The trials' own optimisers remain usable: their states become
views of the stacked ones, so that a trial can be saved, or go on alone, between two epochs.

Source: torch/optim/adam.py (_single_tensor_adam).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sasrecf_tune.engine.fast.length_groups import to_device


@dataclass(frozen=True)
class _Block:
    """Weights that are updated together, and the trial of each; [trials, n], or all of them as [total]."""

    names: Sequence[str]
    weight: Tensor
    mean: Tensor
    square: Tensor

    def gradient(self, stacked: Mapping[str, Tensor]) -> Tensor:
        parts = [_gradient(stacked[name]) for name in self.names]
        return torch.cat([part.reshape(-1) for part in parts]) if self.weight.dim() == 1 else parts[0]


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None, "a parameter has a gradient in each step or in none"
    return weight.grad.reshape(len(weight), -1)


class StackedAdam:
    """Updates stacked parameters in place.

    Args:
        stacked: The stacked parameters by name, [trials, ...], with their first gradients. Those without a
            gradient are left alone, as torch does. Their data moves to this optimiser.
        own: Each trial's parameters by name, which are views of the stacked ones, and stay so.
        optimizers: The trials' own optimisers, which `can_stack` accepts.
    """

    def __init__(
        self,
        stacked: Mapping[str, Tensor],
        own: Sequence[Mapping[str, Tensor]],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self._stacked = {name: weight for name, weight in stacked.items() if weight.grad is not None}
        self._options = [optimizer.param_groups[0] for optimizer in optimizers]
        weights = list(self._stacked.values())
        self._device = weights[0].device
        sizes = [weight.numel() for weight in weights]
        states = [
            [optimizer.state[parameters[name]] for name in self._stacked]
            for optimizer, parameters in zip(optimizers, own, strict=True)
        ]
        # In the order of _Block.
        buffers = "weight", "exp_avg", "exp_avg_sq"
        flat = {name: torch.zeros(sum(sizes), device=self._device) for name in buffers}
        parts = {name: torch.split(buffer, sizes) for name, buffer in flat.items()}
        done = [[state["step"] for state in states_of if state] for states_of in states]
        self._done = [float(steps[0]) if steps else 0.0 for steps in done]
        # Fused kernels have the counter on their device, others on the host.
        on_device = all(group["fused"] or group["capturable"] for group in self._options)
        place = self._device if on_device else torch.device("cpu")
        self._counters = torch.zeros(len(own), len(sizes), device=place)
        for number, (name, weight) in enumerate(self._stacked.items()):
            new = {key: buffer[number].view(weight.shape) for key, buffer in parts.items()}
            new["weight"].copy_(weight.detach())
            weight.data = new["weight"]
            for trial, parameters in enumerate(own):
                parameters[name].data = new["weight"][trial]
                state = states[trial][number]
                begun = bool(state)
                for key in ("exp_avg", "exp_avg_sq"):
                    if begun:
                        new[key][trial].copy_(state[key])
                    state[key] = new[key][trial]
                state["step"] = self._counters[trial, number]
                state["step"].fill_(self._done[trial])
        self._trial_of: Tensor | None = None
        if self._device.type == "cpu":
            # Blocks of one parameter fit in the cache, and a kernel costs little.
            shape = len(own), -1
            self._blocks = [
                _Block([name], *(buffer[number].view(shape) for buffer in parts.values()))
                for number, name in enumerate(self._stacked)
            ]
        else:
            self._blocks = [_Block(list(self._stacked), *flat.values())]
            widths = torch.tensor([size // len(own) for size in sizes]).repeat_interleave(len(own))
            trials = torch.arange(len(own)).repeat(len(sizes)).repeat_interleave(widths)
            self._trial_of = to_device(trials, self._device)
        # Before version 2.7, torch's options do not say it.
        decoupled = [isinstance(optimizer, torch.optim.AdamW) for optimizer in optimizers]
        rates = [(group["lr"], group["weight_decay"]) for group in self._options]
        self._penalty = self._of_trials(
            [0.0 if apart else decay for (_, decay), apart in zip(rates, decoupled, strict=True)], neutral=0.0
        )
        self._shrink = self._of_trials(
            [
                1 - rate * decay if apart else 1.0
                for (rate, decay), apart in zip(rates, decoupled, strict=True)
            ],
            neutral=1.0,
        )

    def start_epoch(self, steps: int) -> None:
        """Prepare the next `steps` updates."""
        beta1, beta2 = self._options[0]["betas"]
        rows = [
            [
                [-group["lr"] / (1 - beta1 ** (done + step)) for done, group in self._each()],
                [math.sqrt(1 - beta2 ** (done + step)) for done, _ in self._each()],
            ]
            for step in range(1, steps + 1)
        ]
        self._scales = to_device(torch.tensor(rows), self._device)
        self._taken = 0

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters by their gradients."""
        beta1, beta2 = self._options[0]["betas"]
        now = self._scales[self._taken]
        size, root = (now[..., None] if self._trial_of is None else now[:, self._trial_of]).unbind()
        self._taken += 1
        for block in self._blocks:
            weight, mean, square = block.weight, block.mean, block.square
            gradient = block.gradient(self._stacked)
            if self._penalty is not None:
                gradient = torch.addcmul(gradient, weight, self._penalty)
            if self._shrink is not None:
                weight.mul_(self._shrink)
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            scaled = square.sqrt().div_(root).add_(self._options[0]["eps"])
            weight.addcmul_(torch.div(mean, scaled, out=scaled), size)

    def finish_epoch(self) -> None:
        """Bring the counters of the trials' own optimisers up to date."""
        self._counters += self._taken
        self._done = [done + self._taken for done in self._done]

    def _each(self) -> zip[tuple[float, dict[str, float]]]:
        return zip(self._done, self._options, strict=True)

    def _of_trials(self, values: list[float], neutral: float) -> Tensor | None:
        """Return a value for each trial in the shape of blocks; None if all are `neutral`."""
        if all(value == neutral for value in values):
            return None
        given = to_device(torch.tensor(values), self._device)
        return given[:, None] if self._trial_of is None else given[self._trial_of]


def can_stack(optimizers: Sequence[torch.optim.Optimizer]) -> bool:
    """Return whether one StackedAdam can do what these optimisers do."""
    if any(type(each) not in (torch.optim.Adam, torch.optim.AdamW) for each in optimizers):
        return False
    options = [each.param_groups[0] for each in optimizers]
    plain = not any(group["amsgrad"] or group["maximize"] for group in options)
    one_group = all(len(each.param_groups) == 1 for each in optimizers)
    return plain and one_group and len({(*group["betas"], group["eps"]) for group in options}) == 1
