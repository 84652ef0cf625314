"""LegoGCD: against forgetting known classes while novel ones are discovered."""

from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from regbench.methods.discovery.networks import Found
from regbench.methods.discovery.task import Batch, DiscoveryMethod, Model
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.run import Run

DivergenceForm = Literal["paper", "attached", "released"]


class LegoGCD(DiscoveryMethod):
    """SimGCD, plus a local entropy regularizer (LER) and a divergence of the views (DKL), without a new parameter.

    L = L_rep + (1 - λ) (L^u_cls + ε (log K - H(p̄)) + w_dkl D) + λ L^s_cls + β L_LER (equations 12 and 13).

    - D = mean over images of KL(p ‖ p'), p and p' the predictions of both views (equation 11).
    - L_LER = 1/(2B) Σ_i o_i (-Σ_k π_ik log softmax(s_i / τ_o - Δ)_k), π_i = softmax(s_i / τ_o), Δ_k = λ_map log(1 / q̂_k)
      (equations 9 and 10): with λ_map = 0 the entropy of rows that are selected, o_i = 1, for they have no label and are
      predicted to be of a known class with a probability of at least δ (equations 6 to 8). It is divided by all 2B rows.
    - q̂, how often classes are predicted, moves by 1 - ρ towards the batch's mean of softmax(s), at temperature 1.

    Equations 9 and 10 are printed with a sign that would raise the entropy; it is lowered, as in the released code, whose
    weight β is 2. Algorithm 1 has no gradient through the second view in D: ``dkl_form`` ``paper``. ``attached`` is equation 11
    with both gradients. ``released`` is the code's value: it takes the logarithm of a softmax of a softmax.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Solving the Catastrophic Forgetting Problem in Generalized Category Discovery",
        "Cao et al.",
        2024,
        "CVPR",
    )

    ler_weight: float = weight(
        2.0, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the entropy of confident rows of known classes"
    )
    dkl_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="w_dkl", differentiable=True, help="weight of the divergence of the views"
    )
    map_margin: float = weight(
        0.4, off=0.0, ge=0, symbol="λ_map", differentiable=True, help="margin by which rare classes are harder in LER"
    )
    confidence_threshold: float = hyperparameter(0.85, ge=0, le=1, help="δ, the least probability of a row in LER")
    ler_temperature: float = hyperparameter(0.05, gt=0, help="τ_o of predictions in LER")
    qhat_momentum: float = hyperparameter(0.999, ge=0, lt=1, help="ρ of the running frequencies q̂ of predictions")
    dkl_form: DivergenceForm = hyperparameter(
        "paper", help="KL of the views: paper (second view without gradient), attached (both have one), or released"
    )

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Found]:
        """SimGCD's objective with D in its clustering part, and β L_LER."""
        loss, found = super().objective(model, batch, weights)
        if is_off(weights.ler_weight):
            return loss, found
        assert batch.frequencies is not None
        selected = confident_known_rows(
            found.logits, batch.labelled, batch.known, self.confidence_threshold, self.student_temperature
        )
        entropy = local_entropy(found.logits, selected, batch.frequencies, weights.map_margin, self.ler_temperature)
        return loss + weights.ler_weight * entropy, found

    def clustering(self, found: Found, batch: Batch, weights: SimpleNamespace) -> Tensor:
        """SimGCD's clustering part, and w_dkl D."""
        loss = super().clustering(found, batch, weights)
        if is_off(weights.dkl_weight):
            return loss
        return loss + weights.dkl_weight * view_divergence(found.logits, self.student_temperature, self.dkl_form)

    def build_parts(self, run: Run) -> dict[str, Any]:
        """Running frequencies, uniform at the start."""
        classes = run.data.meta["classes"]
        uniform = torch.full((1, classes), 1 / classes, device=run.device)
        return super().build_parts(run) | {"memory": {"frequencies": uniform}}

    def step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, weights: SimpleNamespace, run: Run
    ) -> Tensor:
        """A step of descent, after which the frequencies are those of its predictions too."""
        loss, found = self.objective(model, batch, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert batch.frequencies is not None
        logits = run.gather(found.logits.detach())
        run.part("memory")["frequencies"] = updated_frequencies(batch.frequencies, logits, self.qhat_momentum)
        return loss.detach()


def view_divergence(logits: Tensor, student_temperature: float = 0.1, form: DivergenceForm = "paper") -> Tensor:
    """Equation 11: D = 1/B Σ_i KL(p_i ‖ p'_i) of both views' predictions softmax(s / τ_s); a scalar.

    Args:
        logits: cosines s ``[2B, K]``, the first views before the second ones.
        student_temperature: τ_s.
        form: ``paper``: the second view has no gradient (Algorithm 1); ``attached``: both have one; ``released``:
            1/B Σ_i Σ_k p_ik (log softmax(p_i)_k - log softmax(p'_i)_k), gradients through both.
    """
    if form == "released":
        p, other = softmax(logits / student_temperature, 1).chunk(2)
        return (p * (p.log_softmax(1) - other.log_softmax(1))).sum(1).mean()
    log_p, log_other = (logits / student_temperature).log_softmax(1).chunk(2)
    if form == "paper":
        log_other = log_other.detach()
    return (log_p.exp() * (log_p - log_other)).sum(1).mean()


def confident_known_rows(
    logits: Tensor, labelled: Tensor, known: int, threshold: float, student_temperature: float = 0.1
) -> Tensor:
    """Equations 6 to 8: rows without label whose likeliest class is known and has a probability of at least δ; bool ``[2B]``.

    Args:
        logits: cosines s ``[2B, K]``; the known classes come first.
        labelled: which images have a label, bool ``[B]``.
        known: how many classes are known.
        threshold: δ.
        student_temperature: τ_s.
    """
    probability, predicted = softmax(logits.detach() / student_temperature, 1).max(1)
    return ~labelled.repeat(2) & (probability >= threshold) & (predicted < known)


def local_entropy(
    logits: Tensor, selected: Tensor, frequencies: Tensor, margin: float | Tensor, temperature: float = 0.05
) -> Tensor:
    """Equations 9 and 10, to be minimized: 1/(2B) Σ_i o_i (-Σ_k π_ik log softmax(s_i / τ_o + λ_map log q̂)_k); a scalar.

    Args:
        logits: cosines s ``[2B, K]``.
        selected: o, bool ``[2B]``.
        frequencies: q̂ ``[1, K]``.
        margin: λ_map; where it is 0, or q̂ uniform, this is the entropy of π_i = softmax(s_i / τ_o).
        temperature: τ_o.
    """
    scaled = logits / temperature
    q_hat = frequencies.to(scaled.dtype).clamp(min=torch.finfo(scaled.dtype).tiny)
    log_shifted = (scaled + margin * q_hat.log()).log_softmax(1)
    return ((-scaled.softmax(1) * log_shifted).sum(1) * selected).mean()


def updated_frequencies(frequencies: Tensor, logits: Tensor, momentum: float = 0.999) -> Tensor:
    """q̂ after a batch: ρ q̂ + (1 - ρ) mean_i softmax(s_i), without gradient; ``[1, K]``.

    Args:
        frequencies: q̂ ``[1, K]``.
        logits: cosines s ``[2B, K]``, at temperature 1.
        momentum: ρ.
    """
    mean = softmax(logits.detach(), 1).mean(0, keepdim=True)
    return momentum * frequencies + (1 - momentum) * mean
