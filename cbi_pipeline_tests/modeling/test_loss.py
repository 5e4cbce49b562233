from __future__ import annotations

import math

import pytest
import torch

from cbi_pipeline.contracts import QUANTILES
from cbi_pipeline.modeling.config import LossConfig
from cbi_pipeline.modeling.heads import NetworkOutput
from cbi_pipeline.modeling.loss import Labels, direction_loss, mape, pinball, smooth_disagreement, training_loss

WEIGHTS = torch.tensor([1.0, 0.9, 0.8, 0.7])
NAN = float("nan")
HUBER = LossConfig(pinball_weight=0.0, direction_weight=0.0)


def labels(target: list[list[float]], base: float = 0.0, weight: torch.Tensor = WEIGHTS) -> Labels:
    values = torch.tensor(target)
    known = ~torch.isnan(values)
    return Labels(
        target=values,
        base=torch.where(known, base, NAN),
        sigma=torch.where(known, 0.1, NAN),
        density_ratio=torch.where(known, 0.8, NAN),
        weight=known * weight,
    )


def output(median: torch.Tensor, offsets: torch.Tensor | None = None) -> NetworkOutput:
    return NetworkOutput(median, torch.zeros(*median.shape, 7) if offsets is None else offsets)


def test_huber_by_hand() -> None:
    median = torch.tensor([[0.1, 0.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0]])
    batch = labels([[0.3, 2.0, NAN, -2.8], [0.5, NAN, NAN, NAN]])
    # squares/2 inside delta 1, |e| - 1/2 outside: .02, 1.5, 2.5, .125 with weights 1, .9, .7, 1, over four known labels
    expected = (1.0 * 0.02 + 0.9 * 1.5 + 0.7 * 2.5 + 1.0 * 0.125) / 4
    assert training_loss(output(median), batch, HUBER).item() == pytest.approx(expected, rel=1e-6)


def test_pinball_by_hand() -> None:
    value, quantiles = torch.tensor([0.5]), torch.tensor([[-2.0, -1.0, -0.5, 0.0, 1.0, 1.5, 2.0]])
    below = [level * (0.5 - q) for level, q in zip(QUANTILES[:4], (-2.0, -1.0, -0.5, 0.0), strict=True)]
    above = [(1 - level) * (q - 0.5) for level, q in zip(QUANTILES[4:], (1.0, 1.5, 2.0), strict=True)]
    assert pinball(value, quantiles).item() == pytest.approx(sum(below + above) / 7, rel=1e-6)


def test_pinball_is_in_units_of_the_density_and_least_at_the_quantiles() -> None:
    """Many outcomes of one density: the loss over them is least where the offsets are its quantiles."""
    draws = torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(0.0005, 0.9995, 1000))
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(QUANTILES))
    batch = labels((0.8 * draws).unsqueeze(1).repeat(1, 4).tolist())  # target = density_ratio x a standard normal
    config = LossConfig(direction_weight=0.0)
    by_stretch = {
        stretch: training_loss(
            output(torch.zeros(1000, 4), (stretch * normal).expand(1000, 4, 7)), batch, config
        ).item()
        for stretch in (0.8, 0.9, 1.0, 1.1, 1.2)
    }
    assert min(by_stretch, key=by_stretch.__getitem__) == 1.0


def test_sign_has_no_gradient_where_the_surrogate_has_the_right_one() -> None:
    """The forecast has the wrong sign; the derivative is checked against a finite difference in float64."""
    outcome, scale, step = torch.tensor(-0.4, dtype=torch.float64), 0.25, 1e-6
    for start in (0.3, 0.02, 0.0):
        forecast = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        by_sign = (1 - torch.sign(forecast) * torch.sign(outcome)) / 2
        assert torch.autograd.grad(by_sign, forecast)[0].item() == 0.0

        smooth = smooth_disagreement(forecast, outcome, scale)
        gradient = torch.autograd.grad(smooth, forecast)[0].item()
        up, down = (smooth_disagreement(forecast.detach() + d, outcome, scale) for d in (step, -step))
        assert gradient == pytest.approx((up - down).item() / (2 * step), rel=1e-6)
        assert gradient > 0.1  # descent lowers the forecast, towards the outcome's sign


def test_surrogate_is_sign_disagreement_in_the_limit() -> None:
    forecast, outcome = torch.tensor([0.3, -0.3, 0.3, -0.3]), torch.tensor([0.5, 0.5, -0.5, -0.5])
    assert smooth_disagreement(forecast, outcome, 0.01).tolist() == pytest.approx([0, 1, 1, 0])
    assert smooth_disagreement(torch.zeros(4), outcome, 0.01).tolist() == pytest.approx([0.5] * 4)


def test_direction_is_of_the_forecast_and_of_its_steps_in_log_return_terms() -> None:
    """base + median against base + target; steps of f_h sqrt(h / 3). Sure signs, small scale: counting by hand.

    Forecast log returns, in sigma of three months: 0.5, 0.3 sqrt 2 = 0.42, 0.4 sqrt 3 = 0.69, 0.1 sqrt 4 = 0.2, steps
    - + -. Outcome: 0.5, 0.4 sqrt 2 = 0.57, -0.5 sqrt 3 = -0.87, 0.3 sqrt 4 = 0.6, steps + - +.
    """
    batch = labels([[0.6, 0.5, -0.4, 0.4]], base=-0.1).known()
    median = torch.tensor([[0.6, 0.4, 0.5, 0.2]])
    level = 0.8 / 4  # the third sign alone is wrong
    steps = (0.9 + 0.8 + 0.7) / 3
    assert direction_loss(median, batch, 0.001).item() == pytest.approx(level + steps, rel=1e-5)


def test_unknown_label_takes_its_steps_out_of_the_direction() -> None:
    batch = labels([[0.5, NAN, 0.5, -0.5]]).known()
    median = torch.tensor([[0.5, 9.0, 0.5, 0.5]])
    assert direction_loss(median, batch, 0.001).item() == pytest.approx(0.7 / 3 + 0.7, rel=1e-5)
    only = labels([[0.5, NAN, NAN, NAN]]).known()
    assert direction_loss(median, only, 0.001).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("config", [LossConfig(), HUBER])
def test_unknown_label_gives_neither_loss_nor_gradient(config: LossConfig) -> None:
    batch = labels([[0.0, NAN, NAN, NAN], [0.2, 0.1, NAN, 0.4]])
    unused = batch._replace(target=torch.where(batch.weight > 0, batch.target, 1e30))  # a number that may not be used
    gradients = []
    for one in (batch, unused):
        median = torch.tensor([[0.1, 0.2, 0.3, 0.1], [0.0, 0.1, 0.2, 0.3]], requires_grad=True)
        offsets = torch.zeros(2, 4, 7, requires_grad=True)
        loss = training_loss(NetworkOutput(median, offsets), one, config)
        loss.backward()
        assert math.isfinite(loss.item())
        assert median.grad is not None
        assert (median.grad[batch.weight == 0] == 0).all()
        assert (median.grad[batch.weight > 0] != 0).all() or config is HUBER
        if config.pinball_weight:
            assert offsets.grad is not None
            assert (offsets.grad[batch.weight == 0] == 0).all()
            assert offsets.grad.isfinite().all()
        gradients.append((loss.item(), median.grad))
    assert gradients[0][0] == gradients[1][0]
    assert torch.equal(gradients[0][1], gradients[1][1])


def test_known_label_that_is_no_number_shows() -> None:
    batch = labels([[0.5, 0.5, 0.5, 0.5]])._replace(target=torch.tensor([[NAN, 0.5, 0.5, 0.5]]))
    assert training_loss(output(torch.zeros(1, 4)), batch, LossConfig()).isnan()


def test_mape_is_of_the_price() -> None:
    batch = labels([[0.0, 1.0, NAN, -1.0]], base=0.7, weight=torch.tensor([1.0, 5.0, 1.0, 1.0]))
    errors = [
        0.0,
        1 - math.exp(-0.1),
        math.exp(0.1) - 1,
    ]  # sigma_h 0.1, median 0; the base cancels, weights do not count
    assert mape(torch.zeros(1, 4), batch).item() == pytest.approx(100 * sum(errors) / 3, rel=1e-5)
