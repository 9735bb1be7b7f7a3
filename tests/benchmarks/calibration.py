"""Whether the statistics hold what they promise: how often intervals hold the truth, and how often verdicts are wrong.

    python -m tests.benchmarks.calibration errors [--repeats 400] [--data-root FOLDER]
    python -m tests.benchmarks.calibration differences [--repeats 200]
    python -m tests.benchmarks.calibration turn
    python -m tests.benchmarks.calibration families [--repeats 400]
    python -m tests.benchmarks.calibration tails [--repeats 200]
    python -m tests.benchmarks.calibration blocks RUN [--cache FOLDER] [--size 1024] [--permuted]

`errors`: the standard error of FID, to first and to second order, and of KID, on Gaussian features, on features at
distance 0, with outliers, and with `--data-root` (a folder with Fashion-MNIST) on real ones. `differences`: paired ones
at n and extrapolated. `turn`: two Gaussians whose order at few samples is the wrong one. `families`: 20 samplers on the
same noise. `tails`: intervals by how few samples carry the error. `blocks`: the cells of a run folder with many
samples, cut into blocks, each a repeat; `--permuted` cuts them after a shuffle.

The truth is the mean over the repeats, or the value at infinitely many samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from samplerbench.bench.shards import ShardCache
from samplerbench.data import load_images
from samplerbench.folders import shard_cache
from samplerbench.metrics.frechet import Statistics, frechet_distance, statistics_of
from samplerbench.metrics.frechet_error import expand, frechet
from samplerbench.metrics.kernel import kernel_distance
from samplerbench.metrics.reference import load_reference
from samplerbench.models.model import load_model
from samplerbench.plugins import load_plugins
from samplerbench.stats.best import best_set
from samplerbench.stats.difference import difference
from samplerbench.stats.estimate import Estimate
from samplerbench.stats.honest import honest_best
from samplerbench.stats.simultaneous import simultaneous
from samplerbench.stats.tails import concentration, widening

D = 224  # features, as the shipped extractor has them
Draw = Callable[[int, int], Tensor]  # (n, seed) -> features [n, d]


def normal(n: int, seed: int, d: int = D) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wide(n: int, seed: int, d: int = D) -> Tensor:
    """Gaussian, of unequal widths, away from the reference N(0, I)."""
    return normal(n, seed, d) * torch.linspace(0.5, 1.5, d, dtype=torch.float64) + 0.1


def scaled(x: Tensor, factors: np.ndarray) -> Tensor:
    return x * torch.from_numpy(factors)[:, None]


def outliers(n: int, seed: int, share: float, factor: float, d: int = D) -> Tensor:
    chosen = np.random.default_rng(seed).random(n) < share
    return scaled(wide(n, seed, d), np.where(chosen, factor, 1.0))


def standard(d: int = D) -> Statistics:
    return Statistics(np.zeros(d), np.eye(d), None)


def real(data_root: Path) -> tuple[Tensor, Tensor]:
    """Features of the training images, and of the same a little blurred and noisy, as a poor sampler's might be."""
    extractor = load_plugins().extractor("fashion-mnist-cnn")
    images, noise = load_images("FashionMNIST", data_root).images, torch.Generator().manual_seed(0)
    clean, poor = [], []
    for batch in images.split(500):
        x = batch.float()
        blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
        x = 0.7 * x + 0.3 * blurred + 4 * torch.randn(x.shape, generator=noise)
        clean.append(extractor(batch))
        poor.append(extractor(x.clamp(0, 255).round().byte()))
    return torch.cat(clean).double(), torch.cat(poor).double()


def some_of(features: Tensor) -> Draw:
    return lambda n, seed: features[torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:n]]


def show(title: str, header: str, rows: Iterable[str]) -> None:
    print(f"\n{title}\n\n| {header} |\n|{'---|' * (header.count('|') + 1)}", *(f"| {row} |" for row in rows), sep="\n")


def judged(values: np.ndarray, errors: np.ndarray, truth: float | None = None) -> str:
    """Predicted over observed spread, and how often the 95 % interval holds the truth."""
    covered = np.mean(np.abs(values - (values.mean() if truth is None else truth)) <= 1.96 * errors)
    return f"{np.sqrt(np.mean(errors**2)) / values.std(ddof=1):.2f} | {covered:.1%}"


def errors(repeats: int, data_root: Path | None) -> None:
    cases: list[tuple[str, Draw, Statistics]] = [
        ("Gaussian", wide, standard()),
        ("distance 0", normal, standard()),
        ("1 % outliers × 6", lambda n, seed: outliers(n, seed, 0.01, 6), standard()),
    ]
    if data_root:
        clean, poor = real(data_root)
        reference = statistics_of(clean)
        spoilt = lambda n, seed: scaled(  # noqa: E731
            some_of(poor)(n, seed), np.where(np.random.default_rng(seed).random(n) < 0.01, 6.0, 1.0)
        )
        cases += [
            ("real, blurred", some_of(poor), reference),
            ("real, distance 0", some_of(clean), reference),
            ("real, 1 % outliers × 6", spoilt, reference),
        ]
    rows = []
    for name, draw, reference in cases:
        for n in (336, 896, 2048):
            values, first, second, known = [], [], [], []
            for seed in range(repeats):
                measured = frechet(draw(n, seed), reference)
                assert measured.influences is not None
                values.append(measured.value)
                first.append(measured.influences.std(ddof=1) / n**0.5)
                second.append(measured.se or 0.0)
                known.append(measured.se is not None)
            shown = np.array(known)
            if shown.sum() < 20:
                rows.append(f"{name} | {n} | {judged(np.array(values), np.array(first))} | – | – | {shown.mean():.0%}")
                continue
            truth = float(np.mean(values))
            rest = judged(np.array(values)[shown], np.array(second)[shown], truth)
            rows.append(f"{name} | {n} | {judged(np.array(values), np.array(first))} | {rest} | {shown.mean():.0%}")
    show(
        f"FID of {D} features, {repeats} repeats: sd of influences / √n, and the error that is printed",
        "features | n | first order: predicted / observed | holds | printed: predicted / observed | holds | printed in",
        rows,
    )
    of_kernel, rows = normal(1000, 10**6, 32), []
    for name, shift in (("Gaussian", 0.1), ("distance 0", 0.0)):
        for n in (128, 512):
            found = [kernel_distance(normal(n, seed, 32) + shift, of_kernel) for seed in range(repeats)]
            rows.append(f"{name} | {n} | {judged(np.array([f.value for f in found]), np.array([f.se for f in found]))}")
    show("KID of 32 features", "features | n | predicted / observed | holds", rows)


def estimate(features: Tensor, reference: Statistics) -> Estimate:
    found = frechet(features, reference)
    return Estimate(found.value, len(features), found.se, found.influences, found.halves)


def differences(repeats: int) -> None:
    d, rows = 64, []
    reference = standard(d)
    pairs: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("close", lambda x: x + 0.05 * x.flip(1) + 0.02),
        ("closer", lambda x: x + 0.005 * x.flip(1)),
        ("of other bias", lambda x: 0.8 * x),
    ]
    for name, move in pairs:
        big = wide(1_000_000, 10**6, d)
        truth = frechet_distance(statistics_of(move(big)), reference) - frechet_distance(statistics_of(big), reference)
        for n in (256, 1024):
            found = []
            for seed in range(repeats):
                x = wide(n, seed, d)
                one, two = estimate(x, reference), estimate(move(x), reference)
                found.append(difference(one, two, paired=True, extrapolate=True))
            delta_n, se_n = np.array([[f.delta_n, f.se_n] for f in found]).T
            delta, se = np.array([[f.delta, f.se] for f in found]).T
            of_n = f"{delta_n.mean():.4g} | {judged(delta_n, se_n)} | {judged(delta_n, se_n, truth).split(' | ')[1]}"
            rows.append(f"{name} | {n} | {truth:.4g} | {of_n} | {delta.mean():.4g} | {judged(delta, se, truth)}")
    show(
        f"Paired ΔFID of {d} features, {repeats} repeats",
        "cells | n | true Δ | mean Δn | predicted / observed | holds its mean | holds the true Δ | mean Δ∞ | "
        "predicted / observed | holds the true Δ",
        rows,
    )


def turn() -> None:
    rows = []
    for n in (512, 1024, 2048, 4096, 16_384):
        x = normal(n, 0)
        near, far = (estimate(scale * x, standard()) for scale in (1.03, 0.96))
        d = difference(near, far, paired=True, extrapolate=True)
        assert d.se is not None
        assert d.se_n is not None
        rows.append(
            f"{n} | {d.delta_n:+.3f} ± {d.se_n:.3f} | {d.delta_n / d.se_n:+.1f} | {d.delta:+.3f} ± {d.se:.3f} | "
            f"{d.delta / d.se:+.1f}"
        )
    show("Scale 0.96 (FID 0.358) less scale 1.03 (0.202); the truth is +0.157", "n | Δn | z | Δ∞ | z", rows)


def families(repeats: int) -> None:
    k, n, d = 20, 256, 16
    reference, rows = standard(d), []
    for shared in (0.0, 0.9, 0.99):
        big = statistics_of(wide(1_000_000, 10**6, d))
        truth, rejected, kept, size, alone = frechet_distance(big, reference), 0, 0, 0, 0
        honest: list[tuple[float, float | None]] = []
        naive: list[tuple[float | None, float | None]] = []
        for repeat in range(repeats):
            common = normal(n, 10**7 + repeat, d)
            widths = torch.linspace(0.5, 1.5, d, dtype=torch.float64)
            estimates = []
            for j in range(k):
                own = normal(n, 10**8 + k * repeat + j, d)
                mixed = shared * common + (1 - shared**2) ** 0.5 * own
                estimates.append(estimate(mixed * widths + 0.1, reference))
            names = ["noise"] * k
            family = simultaneous(estimates, [(0, j) for j in range(1, k)], names, extrapolate=True, draws=2000)
            rejected += any(one.sign for one in family.tested)
            alone += any(abs(one.difference.delta) > 1.96 * (one.difference.se or 0) for one in family.tested)
            best = best_set(estimates, "lower", names, extrapolate=True, draws=2000)
            kept += bool(best[0])
            size += sum(map(bool, best))
            found = honest_best(estimates, "lower", extrapolate=True)
            winner = min(estimates, key=lambda one: one.at_infinity or 0.0)
            assert found is not None
            honest.append((found.value, found.se))
            naive.append((winner.at_infinity, winner.error(extrapolated=True)))
        found_at = [np.array(pairs, float) for pairs in (honest, naive)]
        errors = [(at[:, 0] - truth) / at[:, 1] for at in found_at]
        holds, curse = [np.mean(np.abs(z) <= 1.96) for z in errors], [np.mean(z) for z in errors]
        verdicts = f"{alone / repeats:.1%} | {rejected / repeats:.1%} | {kept / repeats:.1%} | {size / repeats:.1f}"
        rows.append(f"{shared:g} | {verdicts} | {holds[1]:.1%}, {curse[1]:+.2f} | {holds[0]:.1%}, {curse[0]:+.2f}")
    show(
        f"{k} equal samplers on the same noise, {n} samples of {d} features, {repeats} families, at 95 %",
        "correlation | families with a wrong verdict: pointwise | simultaneous | a true best is in the set | "
        "cells in it | the winner as it is: interval holds, errors off | honest best: the same",
        rows,
    )


def tails(repeats: int) -> None:
    d = 64
    draws: list[tuple[float, Draw]] = [(1.0, lambda n, seed: wide(n, seed, d))]
    for share in (0.003, 0.01, 0.03):
        for factor in (3.0, 6.0):
            draws.append((share, partial(outliers, share=share, factor=factor, d=d)))
    for freedom in (3, 5, 8, 12):

        def student(n: int, seed: int, k: int = freedom) -> Tensor:
            return scaled(wide(n, seed, d), np.sqrt(k / np.random.default_rng(seed).chisquare(k, n)))

        draws.append((1.0, student))
    for spread in (0.3, 0.6, 1.0):

        def lognormal(n: int, seed: int, s: float = spread) -> Tensor:
            return scaled(wide(n, seed, d), np.exp(s * np.random.default_rng(seed).normal(size=n)))

        draws.append((1.0, lognormal))
    found, reference = [], standard(d)
    for share, draw in draws:
        for n in (256, 512, 1024, 2048):
            if n * share < 2.5:  # most draws would hold no outlier
                continue
            values, rest = [], []
            for seed in range(repeats):
                x = draw(n, seed)
                statistics = statistics_of(x)
                influences = expand(statistics, reference).influences(x)
                values.append(frechet_distance(statistics, reference))
                rest.append((influences.std(ddof=1) / n**0.5, concentration(influences), widening(influences)))
            found += [(abs(v - np.mean(values)) / e, c, w) for v, (e, c, w) in zip(values, rest, strict=True)]
    z, carried, factor = np.array(found).T
    rows = []
    for low, high in ((0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.15), (0.15, 0.25), (0.25, 0.35), (0.35, 1)):
        part = (carried > low) & (carried <= high)
        held = f"{np.mean(z[part] <= 1.96):.1%} | {np.mean(z[part] <= 1.96 * factor[part]):.1%}"
        rows.append(f"{low:g} to {high:g} | {part.sum()} | {held} | {np.median(factor[part]):.2f}")
    show(
        f"FID of {d} features of {len(draws)} shapes at four n, {repeats} repeats each",
        "concentration | draws | plain interval holds | widened holds | median widening",
        rows,
    )


def blocks(run: Path, cache: Path, size: int, permuted: bool) -> None:
    cells = pd.read_csv(run / "results.csv")
    model = load_model(cells["model"][0])
    assert model.reference is not None
    extractor = load_plugins().extractor(cells["extractor"][0])
    reference = load_reference(model.reference, extractor, model.image_shape).statistics
    shards, rows, found = ShardCache(cache, print), [], {}
    for _, cell in cells.iterrows():
        parts = [shards.load(cell["key"], i) for i in range(-(-int(cell["samples"]) // 1024))]
        features = torch.cat([part.features for part in parts if part is not None])
        if permuted:
            features = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
        name = f"{cell['sampler']} at {cell['nfe']:g}"
        found[name] = [estimate(part, reference) for part in features.split(size) if len(part) == size]
        whole = expand(statistics_of(features), reference).influences(features)
        trend = np.corrcoef(np.arange(len(whole)), whole)[0, 1] * len(whole) ** 0.5
        values, spread = np.array([one.value for one in found[name]]), np.array([one.se for one in found[name]])
        rows.append(f"{name} | {len(values)} | {values.mean():.4g} | {judged(values, spread)} | {trend:+.2f}")
    title = f"Blocks of {size} samples{', permuted' if permuted else ''}"
    show(title, "cell | blocks | mean FID | predicted / observed | holds | trend of influences with the index, z", rows)
    rows, names = [], list(found)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            both = zip(found[one], found[two], strict=True)
            ds = [difference(a, b, paired=True, extrapolate=True) for a, b in both]
            at_n, limit = np.array([[d.delta_n, d.se_n] for d in ds]).T, np.array([[d.delta, d.se] for d in ds]).T
            rows.append(
                f"{two} - {one} | {at_n[0].mean():.4g} | {judged(*at_n)} | {limit[0].mean():.4g} | {judged(*limit)}"
            )
    if rows:
        show(title, "cells | mean Δn | predicted / observed | holds | mean Δ∞ | predicted / observed | holds", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["errors", "differences", "turn", "families", "tails", "blocks"])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--cache", type=Path, default=shard_cache())
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--permuted", action="store_true")
    given = parser.parse_args()
    if given.what == "errors":
        errors(given.repeats, given.data_root)
    elif given.what == "turn":
        turn()
    elif given.what == "blocks":
        blocks(given.run, given.cache, given.size, given.permuted)
    else:
        {"differences": differences, "families": families, "tails": tails}[given.what](given.repeats)


if __name__ == "__main__":
    main()
