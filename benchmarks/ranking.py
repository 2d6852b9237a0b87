"""Orders that know nothing of the target, on published tables of fine-tuned accuracy: what a ranker has to beat.

    python benchmarks/ranking.py TABLES

TABLES is a folder with sfda_group1.csv and sfda_group2.csv (11 supervised and 12 self-supervised models on 11 data sets;
Shao et al. 2022), parc_controlled.csv and parc_all.csv (pairs of architecture and source data set on 7 targets; Bolya et
al. 2021). The static list ranks by the mean z-score on all other data sets. No model is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from _ranks import read_table, regret, static_list, weighted_tau

# Sources that the authors' own evaluation of parc_all leaves out.
LEFT_OUT = {f"{method}_imagenet" for method in ("swav", "deepclusterv2", "npid", "moco", "simclr")}
LAYERS = {"alexnet": 8, "resnet18": 18, "googlenet": 22, "resnet50": 50, "resnet101": 101}


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("tables", type=Path)
    folder = words.parse_args().tables
    for name in ("sfda_group1", "sfda_group2"):
        targets, _, reached = read_table(folder / f"{name}.csv", "target", model=("model",), reached="fine_tuned_accuracy")
        _print_static(name, targets, reached)
    for name in ("parc_controlled", "parc_all"):
        names = ("Architecture", "Source Dataset")
        targets, models, reached = read_table(folder / f"{name}.csv", "Target Dataset", model=names, reached="Oracle")
        layers = np.array([LAYERS[architecture] for architecture, _ in models])
        _print_layers(name, targets, layers, reached)
        kept = np.array([source not in LEFT_OUT for _, source in models])
        if not kept.all():
            _print_layers(f"{name}, {kept.sum()} of {len(kept)} models", targets, layers[kept], reached[:, kept])


def _print_static(name: str, targets: list[str], reached: np.ndarray) -> None:
    rows = [
        (target, weighted_tau(scores, truth), regret(scores, truth), regret(scores, truth, k=3))
        for target, scores, truth in zip(targets, static_list(reached), reached, strict=True)
    ]
    print(f"\n{name}: the static list\n\n| target | weighted tau | regret@1 | regret@3 |\n| --- | --- | --- | --- |")
    for target, tau, first, three in [*rows, ("mean", *np.mean([row[1:] for row in rows], axis=0))]:
        print(f"| {target} | {tau:.3f} | {first:.2f} | {three:.2f} |")


def _print_layers(name: str, targets: list[str], layers: np.ndarray, reached: np.ndarray) -> None:
    """100 × Pearson correlation with accuracy, as that paper reports it, of the number of layers and of the static list."""
    rows = []
    for target, static, truth in zip(targets, static_list(reached), reached, strict=True):
        known = np.isfinite(truth)
        listed = known & np.isfinite(static)
        by_layers = np.corrcoef(layers[known], truth[known])[0, 1]
        rows.append((target, 100 * by_layers, 100 * np.corrcoef(static[listed], truth[listed])[0, 1]))
    print(f"\n{name}: 100 × Pearson correlation\n\n| target | layers | static list |\n| --- | --- | --- |")
    for target, by_layers, by_list in [*rows, ("mean", *np.mean([row[1:] for row in rows], axis=0))]:
        print(f"| {target} | {by_layers:.1f} | {by_list:.1f} |")


if __name__ == "__main__":
    main()
