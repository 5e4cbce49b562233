"""What holds for every network, whatever its architecture: driven by the inputs that each describes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cbi_pipeline.errors import ModelError
from cbi_pipeline.modeling.config import (
    ARCHITECTURES,
    AnyNetworkConfig,
    LstmMhaConfig,
    NbeatsxConfig,
    TcnConfig,
    TrainingConfig,
)
from cbi_pipeline.modeling.heads import NORMAL_QUANTILES
from cbi_pipeline.modeling.networks import Ensemble, ForecastNetwork, build_ensemble, build_network, load_ensemble
from cbi_pipeline.modeling.windows import NetworkInputs

WINDOW = 63  # no multiple of five: the oldest patch is extended
DEFAULTS: dict[str, AnyNetworkConfig] = {"lstm_mha": LstmMhaConfig(), "tcn": TcnConfig(), "nbeatsx": NbeatsxConfig()}
SMALL = {"window_sessions": WINDOW, "context_width": 8, "fused_width": 8, "spread_inputs": tuple("abcdef")}
SIZES = {
    "lstm_mha": {"hidden": 16, "attention_heads": 4},
    "tcn": {"filters": 16, "norm_groups": 4, "bottleneck": 12, "kernel_size": 3, "n_blocks": 5},
    "nbeatsx": {"block_width": 16, "norm_groups": 4, "kernel_size": 3},
}
CHANGES = {
    "default": {},
    "no context": {"context_inputs": ()},
    "no patches": {"patch_days": 1},
    "unbounded": {"residual_bound": None},
    "mean readout": {"readout": "mean"},
}
VARIANTS = {
    f"{architecture}, {name}": type(DEFAULTS[architecture])(**(SMALL | SIZES[architecture] | change))  # type: ignore[arg-type]
    for architecture in ARCHITECTURES
    for name, change in CHANGES.items()
    if name != "mean readout" or architecture == "tcn"
}
PARAMETERS = {"lstm_mha": 321_212, "tcn": 177_084, "nbeatsx": 344_276}
"""At the default configuration with 60 spread inputs."""

every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
each_architecture = pytest.mark.parametrize(
    "config", [VARIANTS[f"{architecture}, default"] for architecture in ARCHITECTURES], ids=ARCHITECTURES
)


def build(config: AnyNetworkConfig, awake: float = 0.1) -> ForecastNetwork:
    """In evaluation mode; `awake` moves the heads from their zero start, so that gradients pass through them."""
    torch.manual_seed(1)
    network = build_network(config).eval()
    if awake:
        wake(network, awake)
    return network


def wake(network: nn.Module, std: float = 0.1) -> None:
    for name, parameter in network.named_parameters():
        if "heads.horizons" in name:
            nn.init.normal_(parameter, std=std)


def inputs_of(network: ForecastNetwork, n: int = 3) -> NetworkInputs:
    generator = torch.Generator().manual_seed(2)
    return NetworkInputs(**{k: torch.randn(n, *s, generator=generator) for k, s in network.input_shapes().items()})


@every_variant
def test_shapes_and_types_follow_from_the_description(config: AnyNetworkConfig) -> None:
    network = build(config)
    assert network.input_shapes() == {
        "history": (2 * len(config.mean_path_inputs), WINDOW),
        "current": (12,),
        "calendar": (5,),
    }
    output = network(*inputs_of(network))
    assert output.median.shape == (3, 4)
    assert output.offsets.shape == (3, 4, 7)
    assert output.median.dtype == output.offsets.dtype == torch.float32
    assert torch.equal(network.median(*inputs_of(network)[::2]), output.median)


@each_architecture
@pytest.mark.parametrize("name", ["history", "current", "calendar"])
def test_wrong_shapes_are_refused_by_name(config: AnyNetworkConfig, name: str) -> None:
    network = build(config)
    inputs = inputs_of(network)
    wrong = inputs._replace(**{name: getattr(inputs, name)[..., :-1]})
    with pytest.raises(ModelError, match=f"^{name} of shape"):
        network(*wrong)


@each_architecture
def test_spread_inputs_must_be_named(config: AnyNetworkConfig) -> None:
    with pytest.raises(ModelError, match="spread_inputs"):
        build_network(config.model_copy(update={"spread_inputs": ()}))


@every_variant
def test_forecast_sees_its_own_window_and_nothing_later(config: AnyNetworkConfig) -> None:
    network = build(config)
    shapes, sessions, t = network.input_shapes(), WINDOW + 20, WINDOW + 7
    generator = torch.Generator().manual_seed(3)
    history = torch.randn(sessions, shapes["history"][0], generator=generator).requires_grad_()  # [T, 2M]
    current = torch.randn(sessions, shapes["current"][0], generator=generator).requires_grad_()  # [T, 2S]
    windows = history.unfold(0, WINDOW, 1)  # [T - W + 1, 2M, W]
    calendar = torch.randn(len(windows), 5, generator=generator)
    output = network(windows, current[WINDOW - 1 :], calendar)
    row = t - WINDOW + 1
    (of_history,) = torch.autograd.grad(output.median[row].square().sum(), history, retain_graph=True)
    (of_current,) = torch.autograd.grad(output.offsets[row].square().sum(), current)
    seen = of_history.abs().sum(dim=1) > 0
    assert not seen[t + 1 :].any()  # exactly zero, not nearly
    assert not seen[: t - WINDOW + 1].any()
    assert seen[t - WINDOW + 1 : t + 1].all()
    assert (of_current.abs().sum(dim=1) > 0).nonzero().flatten().tolist() == [t]


def sequences(network: nn.Module) -> dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Every stem of a network with the encoder whose states follow it."""
    found = {}
    for part in ("zl", "context"):
        encoder = getattr(network, f"{part}_encoder", getattr(network, f"{part}_stack", None))
        if encoder is not None:
            found[part] = (getattr(network, f"{part}_stem"), encoder.states)
    return found


@every_variant
@pytest.mark.parametrize("training", [False, True])
def test_no_state_depends_on_a_later_session(config: AnyNetworkConfig, training: bool) -> None:
    network = build(config).train(training)
    extended = -WINDOW % config.patch_days
    found = sequences(network)
    assert found or not config.context_inputs
    for part, (stem, states) in found.items():
        channels = 2 * len(config.zl_inputs if part == "zl" else config.context_inputs)
        for step in (0, 1, 5, config.n_steps - 1):
            x = torch.randn(4, channels, WINDOW, generator=torch.Generator().manual_seed(4)).requires_grad_()
            (gradient,) = torch.autograd.grad(states(stem(x))[..., step].square().sum(), x)
            seen = (gradient.abs().sum(dim=(0, 1)) > 0).nonzero().flatten()
            assert int(seen.max()) == (step + 1) * config.patch_days - 1 - extended


@every_variant
def test_every_parameter_learns_once_the_heads_have_left_zero(config: AnyNetworkConfig) -> None:
    network = build(config)
    output = network(*inputs_of(network, 16))
    (output.median.square().sum() + output.offsets.square().sum()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert silent == []


@every_variant
def test_untrained_network_adds_nothing_and_states_the_normal(config: AnyNetworkConfig) -> None:
    network = build(config, awake=0).train()
    output = network(*inputs_of(network, 8))
    assert torch.equal(output.median, torch.zeros(8, 4))
    assert torch.equal(output.offsets, torch.tensor(NORMAL_QUANTILES).expand(8, 4, 7))
    ((output.median - 1).square().sum() + (output.offsets - 1).square().sum()).backward()
    moved = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"heads"}


@every_variant
def test_spread_inputs_never_reach_the_median(config: AnyNetworkConfig) -> None:
    network = build(config)
    inputs = inputs_of(network)
    for tensor in inputs:
        tensor.requires_grad_()
    median, offsets = network(*inputs)
    (of_median,) = torch.autograd.grad(median.square().sum(), inputs.current, allow_unused=True, retain_graph=True)
    assert of_median is None
    of_offsets = torch.autograd.grad(offsets.square().sum(), inputs, allow_unused=True)
    assert [gradient is not None for gradient in of_offsets] == [False, True, False]


@every_variant
def test_the_calendar_is_used_where_the_network_says_so(config: AnyNetworkConfig) -> None:
    network = build(config)
    inputs = inputs_of(network)
    inputs.calendar.requires_grad_()
    median = network.median(inputs.history, inputs.calendar)
    (gradient,) = torch.autograd.grad(median.square().sum(), inputs.calendar, allow_unused=True)
    assert (gradient is not None and bool(gradient.abs().sum(dim=0).gt(0).all())) == network.uses_calendar
    assert network.uses_calendar == (config.architecture == "nbeatsx")


@every_variant
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e6, 3e38])
def test_extreme_inputs_stay_finite_bounded_and_in_order(config: AnyNetworkConfig, scale: float) -> None:
    network = build(config, awake=3.0).train()
    inputs = inputs_of(network, 4)
    inputs = inputs._replace(history=inputs.history.clamp(-1, 1) * scale, current=inputs.current.clamp(-1, 1) * scale)
    output = network(*inputs)
    (output.median.sum() + output.offsets.sum()).backward()
    assert torch.isfinite(output.median).all()
    assert torch.isfinite(output.offsets).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert (output.offsets.diff(dim=-1) > 0).all()
    assert torch.equal(output.offsets[..., 3], torch.zeros(4, 4))
    if config.residual_bound is not None:
        assert output.median.abs().max() <= config.residual_bound


@every_variant
def test_evaluation_is_deterministic_and_training_drops(config: AnyNetworkConfig) -> None:
    network = build(config)
    inputs = inputs_of(network)
    for first, second in zip(network(*inputs), network(*inputs), strict=True):
        assert torch.equal(first, second)
    network.train()
    for first, second in zip(network(*inputs), network(*inputs), strict=True):
        assert not torch.equal(first, second)


@every_variant
def test_batch_of_one_equals_a_row_of_a_batch(config: AnyNetworkConfig) -> None:
    network = build(config)
    inputs = inputs_of(network, 5)
    batch = network(*inputs)
    for row in range(5):
        alone = network(*(tensor[row : row + 1] for tensor in inputs))
        torch.testing.assert_close(alone.median[0], batch.median[row], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.offsets[0], batch.offsets[row], rtol=0, atol=1e-5)


@each_architecture
def test_the_mask_of_every_input_tells_a_gap_from_a_zero(config: AnyNetworkConfig) -> None:
    network = build(config)
    inputs, n = inputs_of(network), len(config.mean_path_inputs)
    present = inputs.history.clone()
    present[:, :n, 20], present[:, n:] = 0.0, 1.0
    for mask in range(n, 2 * n):
        absent = present.clone()
        absent[:, mask, 20] = 0.0
        assert not torch.equal(network.median(present, inputs.calendar), network.median(absent, inputs.calendar))


@each_architecture
def test_each_encoder_gets_its_own_values_and_masks(config: AnyNetworkConfig) -> None:
    network, seen = build(config), []
    for stem in (network.zl_stem, network.context_stem):
        stem.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    inputs = inputs_of(network)
    network(*inputs)
    z, m = len(config.zl_inputs), len(config.mean_path_inputs)
    for found, columns in zip(seen, (range(z), range(z, m)), strict=True):
        assert torch.equal(found, inputs.history[:, [*columns, *(m + column for column in columns)]])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_number_of_parameters(architecture: str) -> None:
    spread = tuple(f"feature_{number}" for number in range(60))
    network = build_network(DEFAULTS[architecture].model_copy(update={"spread_inputs": spread}))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[architecture]


def ensemble_of(config: AnyNetworkConfig, members: int = 2) -> tuple[TrainingConfig, Ensemble]:
    training = TrainingConfig(network=config, members=members)
    torch.manual_seed(1)
    ensemble = build_ensemble(training).eval()
    wake(ensemble)
    return training, ensemble


@every_variant
def test_weights_survive_the_disk_exactly(config: AnyNetworkConfig, tmp_path: Path) -> None:
    training, ensemble = ensemble_of(config)
    save_file(ensemble.state_dict(), tmp_path / "weights.safetensors")
    state = torch.random.get_rng_state()
    loaded = load_ensemble(training, load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not loaded.training
    inputs = inputs_of(ensemble.members[0])  # type: ignore[arg-type]
    for before, after in zip(ensemble(*inputs), loaded(*inputs), strict=True):
        assert torch.equal(before, after)


@each_architecture
def test_ensemble_is_the_mean_of_its_members(config: AnyNetworkConfig) -> None:
    _, ensemble = ensemble_of(config, members=3)
    inputs = inputs_of(ensemble.members[0])  # type: ignore[arg-type]
    medians, offsets = zip(*ensemble.each(inputs), strict=True)
    assert not torch.equal(medians[0], medians[1])
    torch.testing.assert_close(ensemble(*inputs).median, sum(medians) / 3, rtol=0, atol=1e-6)
    torch.testing.assert_close(ensemble(*inputs).offsets, sum(offsets) / 3, rtol=0, atol=1e-6)


@each_architecture
def test_weights_of_another_configuration_are_refused(config: AnyNetworkConfig) -> None:
    training, ensemble = ensemble_of(config)
    for other in (
        training.model_copy(update={"members": 3}),
        training.model_copy(update={"network": config.model_copy(update={"context_width": 16})}),
    ):
        with pytest.raises(ModelError, match="shape"):
            load_ensemble(other, ensemble.state_dict())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@each_architecture
def test_network_can_be_traced(config: AnyNetworkConfig) -> None:
    network = build(config)
    traced = torch.jit.trace(network, tuple(inputs_of(network, 2)))
    inputs = inputs_of(network, 5)
    for eager, other in zip(network(*inputs), traced(*inputs), strict=True):
        torch.testing.assert_close(other, eager, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
@each_architecture
def test_network_can_be_exported_for_any_batch(config: AnyNetworkConfig) -> None:
    network = build(config)
    batch = torch.export.Dim("batch", min=2, max=1024)
    dynamic = {name: {0: batch} for name in network.input_shapes()}
    exported = torch.export.export(network, tuple(inputs_of(network, 4)), dynamic_shapes=dynamic).module()
    inputs = inputs_of(network, 5)
    for eager, other in zip(network(*inputs), exported(*inputs), strict=True):
        torch.testing.assert_close(other, eager, rtol=0, atol=1e-6)
