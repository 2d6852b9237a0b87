"""What tuning takes, told before: counted where it can be counted."""

from dataclasses import replace

import numpy as np
import pytest

from headstart import _events
from headstart.errors import NotAdmissible
from headstart.features import FeatureStore, Lens
from headstart.stages.cost import cost
from headstart.strategy import Limits, Plan, Recipe, strategy_named
from headstart.testing import toy_backbone, toy_problem
from headstart.workflow import within

PLAN = Plan(tuned_epochs=4, threads=1)
PARTS = ("weights", "gradients", "optimiser", "copies", "activations", "inputs")


def told(name, *, n=120, cut="stage1"):
    problem, _ = toy_problem(n=n)
    lens = Lens(((toy_backbone(), "stage3"),), cut, FeatureStore())
    return cost(Recipe(strategy_named(name), lens), problem, plan=PLAN)


def test_what_can_be_counted_is_counted():
    found = told("fine_tune")
    head, stage = 16 * 3 + 3, 16 * 16 + 16
    assert found.parameters == 12 * 16 + 16 + 2 * stage + head
    assert found.moving == 2 * stage + head
    assert (found.gradients, found.optimiser) == (4 * found.moving, 8 * found.moving)
    # at the cut a row of 16 halves an item; kept for the gradient: three rows of 16 and what log-loss needs, of 32 items
    assert found.disk == found.inputs == 120 * 16 * 2
    assert 3 * 16 * 4 * 32 <= found.activations <= 2 * (3 * 16 * 4 * 32)
    assert found.memory == sum(
        getattr(found, name) for name in ["weights", "gradients", "optimiser", "copies", "activations", "inputs"]
    )
    assert found.seconds > 0


def test_methods_differ_as_they_should():
    whole, part, upper = told("full"), told("bitfit"), told("partial:layers=1")
    assert whole.disk == 0 < upper.disk
    assert part.moving == 2 * 16 + 16 * 3 + 3
    assert upper.moving < told("fine_tune").moving < whole.moving
    assert part.optimiser < whole.optimiser
    assert told("full", n=240).inputs == 2 * whole.inputs


def test_what_tunes_no_network_has_no_cost_to_tell():
    problem, _ = toy_problem(n=30)
    with pytest.raises(NotAdmissible, match="'linear_probe on toy_useful' tunes no network"):
        cost(Recipe(strategy_named("linear_probe"), Lens(((toy_backbone(), "stage3"),))), problem)


def test_a_limit_of_memory_leaves_methods_out_and_says_so():
    problem, _ = toy_problem(n=60)
    lens = Lens(((toy_backbone(), "stage3"),), "stage1", FeatureStore())
    recipes = [Recipe(strategy_named(name), lens) for name in ("linear_probe", "fine_tune", "full")]
    needs = [cost(recipe, problem, plan=PLAN).memory for recipe in recipes[1:]]
    heard = []
    with _events.listen(heard.append):
        kept = within(recipes, problem, limits=Limits(memory=float(np.mean(needs))), plan=PLAN)
    assert [recipe.strategy.name for recipe in kept] == ["linear_probe", "fine_tune"]
    assert kept[1].strategy.moves == "layer_decay"
    (said,) = [event.message for event in heard if "left out" in event.message]
    assert said.startswith("full on toy_useful is left out: training it takes about 0 MB")
    assert within(recipes, problem, limits=None, plan=PLAN) == recipes
    assert within(recipes, problem, limits=replace(Limits(), seconds=1.0), plan=PLAN) == recipes
