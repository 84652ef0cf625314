"""Problems in words with an answer that can be verified: one turn, in which a language model works out a solution."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from regbench.methods.shared.data.texts import read_texts
from regbench.methods.shared.reinforcement.answers import canonical, final_answer
from regbench.methods.shared.reinforcement.causal_policies import load_tokenizer


class TextProblems:
    """The environment; see ``rollouts.Environment``. A problem is its text and its answer, as bytes.

    Prompts are what the tokenizer's own template makes of problem and instruction, or without one both on lines of their own.
    They are padded at the beginning; what is beyond their length is cut there. The reward is 1 where the response's final
    answer and the right one have the same canonical form.

    Args:
        policy: ``hf:FOLDER``, whose tokenizer it is.
        prompt: tokens of a prompt.
        response: tokens of a response, at most.
        instruction: follows each problem.
        text: bytes of a row that are the problem; the others are the answer.
    """

    turns = 1
    observation = 0

    def __init__(self, policy: str, prompt: int, response: int, instruction: str, text: int) -> None:
        self.tokenizer = load_tokenizer(policy)
        self.prompt, self.action, self.instruction, self.text = prompt, response, instruction, text
        self.pad, self.end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.vocabulary = len(self.tokenizer)
        self.tokens_of = cache(self._tokens)

    def start(self, problems: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Prompts ``[B, P]`` of problems ``[B, bytes]``; nothing has been said."""
        rows = problems.cpu()
        texts = [self.tokens_of(text) for text in read_texts(rows[:, : self.text])]
        prompt = torch.full((len(rows), self.prompt), self.pad, dtype=torch.int64)
        for row, tokens in zip(prompt, texts, strict=True):
            row[self.prompt - len(tokens) :] = torch.tensor(tokens)
        return prompt.to(problems.device), {"problems": rows}

    def act(self, state: dict[str, Any], action: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the response, after which it is over."""
        state["response"] = action
        return action[:, :0], torch.ones_like(alive)

    def judge(self, state: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Reward 1 for the right answer, which is number 0; a problem's other answers are numbered as they appear."""
        rows, response = state["problems"], state["response"]
        right = [canonical(answer) for answer in read_texts(rows[:, self.text :])]
        said = [self.answer_of(tokens) for tokens in response.tolist()]
        _, kind = rows.unique(dim=0, return_inverse=True)
        known: dict[int, dict[str, int]] = {}
        numbers = []
        for problem, truth, answer in zip(kind.tolist(), right, said, strict=True):
            names = known.setdefault(problem, {truth: 0})
            numbers.append(-1 if answer is None else names.setdefault(answer, len(names)))
        answers = torch.tensor(numbers, device=response.device)
        solved = answers == 0
        return solved.float(), solved, answers

    def answer_of(self, response: list[int]) -> str | None:
        """The canonical form of a response's final answer; None where it has none."""
        length = response.index(self.end) if self.end in response else len(response)
        answer = final_answer(self.tokenizer.decode(response[:length], skip_special_tokens=True))
        return None if answer is None else canonical(answer) or None

    def truth(self, problems: Tensor) -> Tensor:
        """The right answers' numbers ``[N]``: 0."""
        return torch.zeros(len(problems), dtype=torch.int64, device=problems.device)

    def statistics(self, tokens: Sequence[Tensor]) -> dict[str, float]:
        """Nothing besides."""
        return {}

    def _tokens(self, text: str) -> list[int]:
        said = "\n".join(part for part in (text, self.instruction) if part)
        if self.tokenizer.chat_template:
            asked = [{"role": "user", "content": said}]
            said = self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            found = self.tokenizer(said, add_special_tokens=False)["input_ids"]
        else:
            found = self.tokenizer(said + "\n")["input_ids"]
        return list(found[-self.prompt :])
