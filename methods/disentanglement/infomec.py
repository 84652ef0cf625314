"""InfoMEC (Hsu et al., NeurIPS 2023): how modular, explicit and compact latents are, by their information about sources.

All functions take sources ``[N, n_s]``, each column of finitely many values, and latents ``[N, n_z]`` of any real type, or
integers that are compared only; and compute in double precision.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

# Neighbours of the estimate for continuous latents, and the share of the largest range from which on one of them is active.
NEIGHBOURS = 10
ACTIVE_SHARE = 1 / 20
# Iterations of the logistic regressions.
ITERATIONS = 100


@dataclass(frozen=True)
class InfoMEC:
    """What InfoMEC says of latents.

    Attributes:
        modularity: InfoM, 1 where each active latent informs about one source only.
        explicitness: InfoE, 1 where each source is a linear function (in log-odds) of the latents.
        compactness: InfoC, 1 where each source is informed about by one latent only.
        information: I(s_i; z_j) / H(s_i) ``[n_s, n_z]``, of all latents; nan in the row of a constant source.
        active: which latents vary, bool ``[n_z]``.
        dropped: ratios that are 0 / 0 and left out of the means: active latents and sources without any information.
    """

    modularity: float
    explicitness: float
    compactness: float
    information: Tensor
    active: Tensor
    dropped: int


def infomec(sources: Tensor, latents: Tensor, *, discrete: bool, seed: int = 0) -> InfoMEC:
    """All of InfoMEC.

    Where nothing is left to average, because no latent is active or none informs about anything, modularity or compactness is
    0, as compactness is where one latent is active, for which its formula is 0 / 0; the released code gives nan.

    Args:
        sources: ``[N, n_s]``.
        latents: ``[N, n_z]``.
        discrete: whether the latents' values are categories.
        seed: of the noise of 1e-10 that breaks ties between neighbours of continuous latents.
    """
    information = normalized_information(sources, latents, discrete=discrete, seed=seed)
    active = active_latents(latents, discrete=discrete)
    kept = information[:, active]
    dropped = int((kept.sum(0) == 0).sum() + (kept.sum(1) == 0).sum())
    return InfoMEC(
        _or_zero(modularity(kept)),
        explicitness(sources, latents, discrete=discrete),
        _or_zero(compactness(kept)),
        information,
        active,
        dropped,
    )


def normalized_information(sources: Tensor, latents: Tensor, *, discrete: bool, seed: int = 0) -> Tensor:
    """I(s_i; z_j) / H(s_i) in double precision ``[n_s, n_z]``, nan in the row of a constant source.

    Of discrete latents it is the plug-in value of their joint frequencies; of continuous ones the nearest-neighbour estimate
    of Ross (2014) with 10 neighbours, after standardization.
    """
    labels, counts = _labels(sources)
    if discrete:
        information = plug_in_information(labels, _labels(latents)[0])
    else:
        from sklearn.feature_selection import mutual_info_classif

        z = _standardized(latents).numpy()
        information = torch.stack(
            [
                torch.from_numpy(mutual_info_classif(z, s.numpy(), n_neighbors=NEIGHBOURS, random_state=seed))
                for s in labels.T.cpu()
            ]
        )
    entropies = torch.stack([_entropy(s.bincount(minlength=count)) for s, count in zip(labels.T, counts, strict=True)]).cpu()
    return information.cpu() / torch.where(entropies > 0, entropies, math.nan)[:, None]


def plug_in_information(first: Tensor, second: Tensor) -> Tensor:
    """Mutual information in nats of each column of one table of labels with each of another ``[A, B]``, float64.

    Args:
        first: ``[N, A]``, int64, each column's values 0, 1, ….
        second: ``[N, B]``, likewise.
    """
    columns = [_indicators(labels) for labels in (first, second)]
    (a, a_of), (b, b_of) = columns  # [N, K], which column each indicator belongs to [K]
    joint = a.T @ b / len(a)  # [K_a, K_b]
    expected = a.mean(0)[:, None] * b.mean(0)
    terms = torch.where(joint > 0, joint * (joint / expected.clamp(min=torch.finfo(torch.float64).tiny)).log(), 0.0)
    rows = terms.new_zeros(first.shape[1], terms.shape[1]).index_add_(0, a_of, terms)
    return rows.new_zeros(first.shape[1], second.shape[1]).index_add_(1, b_of, rows).clamp(min=0)


def active_latents(latents: Tensor, *, discrete: bool) -> Tensor:
    """Which latents vary, bool ``[n_z]``: by more than 0 (discrete), or by more than a twentieth of the largest range."""
    ranges = (latents.amax(0) - latents.amin(0)).cpu()
    return ranges > (0 if discrete else ranges.max() * ACTIVE_SHARE)


def modularity(information: Tensor) -> Tensor:
    """InfoM of ``[n_s, n_z]``: the mean over latents of max_i / Σ_i, from 1 / n_s to 1, stretched to [0, 1].

    Latents without any information are left out; nan if that leaves none, or if there is one source only.
    """
    return _concentration(information.T)


def compactness(information: Tensor) -> Tensor:
    """InfoC of ``[n_s, n_z]``: the mean over sources of max_j / Σ_j, from 1 / n_z to 1, stretched to [0, 1]; see above."""
    return _concentration(information)


def explicitness(sources: Tensor, latents: Tensor, *, discrete: bool) -> float:
    """InfoE: the mean over sources of (h₀ - h) / h₀; nan if all are constant.

    h is the log-loss, on the data it is fitted to, of a multinomial logistic regression of balanced classes without a penalty,
    from one-hot (discrete) or standardized latents; h₀ that of one that sees nothing, which gives each of a source's K values
    the probability 1 / K: log K.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    labels, counts = _labels(sources)
    features = (_indicators(_labels(latents)[0])[0] if discrete else _standardized(latents)).cpu().numpy()
    found = []
    for source, values in zip(labels.T.cpu().numpy(), counts, strict=True):
        if values == 1:
            continue
        model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=ITERATIONS)
        with warnings.catch_warnings():
            # Where the classes can be separated there is no optimum to converge to.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, source)
        found.append(1 - log_loss(source, model.predict_proba(features)) / math.log(values))
    return float(np.mean(found)) if found else math.nan


def _concentration(information: Tensor) -> Tensor:
    """The mean over rows of the largest share, stretched from [1 / columns, 1] to [0, 1], over rows that are not all 0."""
    rows, uniform = information[information.sum(1) > 0], 1 / max(information.shape[1], 1)
    shares = rows.amax(1) / rows.sum(1) if len(rows) else rows.new_zeros(0)
    return (shares.mean() - uniform) / (1 - uniform)


def _or_zero(value: Tensor) -> float:
    return float(value) if value.isfinite() else 0.0


def _labels(table: Tensor) -> tuple[Tensor, list[int]]:
    """Each column's values replaced by their places in its sorted distinct values ``[N, K]``, and how many there are."""
    columns = [column.unique(return_inverse=True) for column in table.T]
    return torch.stack([labels for _, labels in columns], 1), [len(values) for values, _ in columns]


def _indicators(labels: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot columns of all columns of labels, float64 ``[N, K]``, and which column each comes from ``[K]``."""
    parts = [one_hot(column).double() for column in labels.T]
    origins = [torch.full((part.shape[1],), place, device=labels.device) for place, part in enumerate(parts)]
    return torch.cat(parts, 1), torch.cat(origins)


def _standardized(latents: Tensor) -> Tensor:
    """Latents of mean 0 and standard deviation 1, constant ones 0, float64 on the CPU."""
    z = latents.double().cpu()
    centred = z - z.mean(0)
    deviation = centred.square().mean(0).sqrt()
    # What is constant but for rounding is no signal to be magnified.
    negligible = deviation <= torch.finfo(latents.dtype).eps * z.abs().amax(0)
    return torch.where(negligible, 0.0, centred / torch.where(negligible, 1.0, deviation))


def _entropy(counts: Tensor) -> Tensor:
    p = counts[counts > 0].double() / counts.sum()
    return -(p * p.log()).sum()
