"""A tiny causal language model and its tokenizer, saved by the test, as policy."""

import json
import math
from functools import cache

import pytest
import torch

from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import data_root, load
from regbench.methods.shared.data.texts import read_texts
from regbench.methods.shared.reinforcement.causal_policies import CausalPolicy, load_causal, load_tokenizer, tokens_of
from regbench.methods.shared.reinforcement.grpo import token_log_probs
from regbench.methods.shared.reinforcement.household import Household
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.shared.reinforcement.rollouts import roll_out
from regbench.methods.shared.reinforcement.text_problems import TextProblems
from regbench.platform.suite.spec import read_suite

transformers = pytest.importorskip("transformers")

PAD, END = "<|pad|>", "<|end|>"
INSTRUCTION = "Box the answer."


def byte_tokenizer():
    """A byte-level tokenizer that has seen nothing but a sum, in the form of Qwen's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    found = Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=[PAD, END], show_progress=False)
    texts = ["What is 2 plus 3? The answer: \\boxed{5} #### 5", " ".join(["", *Household(8, 30).names])]
    found.train_from_iterator(texts * 20, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=found, pad_token=PAD, eos_token=END)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of data with a language model in it, and sums in the form of GSM8K."""
    root = tmp_path_factory.mktemp("data")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(root / "tiny")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, initializer_range=0.3, **sizes)
    transformers.Qwen2ForCausalLM(config).save_pretrained(root / "tiny")
    transformers.Qwen2ForCausalLM(config).save_pretrained(root / "mute")
    (root / "gsm8k").mkdir()
    for part, count in (("train", 40), ("test", 6)):
        rows = [{"question": f"What is {i} plus 3?", "answer": f"{i} + 3 = {i + 3}\n#### {i + 3}"} for i in range(count)]
        (root / "gsm8k" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    """Data sets of another folder are not those that other tests load."""
    load_tokenizer.cache_clear()
    monkeypatch.setenv("REGBENCH_DATA", str(root))


@cache
def policy_of(root):
    """The policy of a folder of data, which must be the current one."""
    assert data_root() == root
    return CausalPolicy(load_causal("hf:tiny"), load_tokenizer("hf:tiny").pad_token_id)


def problems_of(root, response=12):
    """Its environment, with prompts that are padded, and four of its problems."""
    data = load("gsm8k")
    environment = TextProblems("hf:tiny", 30, response, INSTRUCTION, data.meta["text"])
    return environment, data.train.tensors[0][:4]


def test_the_state_is_what_the_next_token_is_read_from(root):
    environment, problems = problems_of(root)
    policy, (prompts, _) = policy_of(root), environment.start(problems)
    with torch.no_grad():
        torch.testing.assert_close(policy.model.lm_head(policy.state(prompts)), policy(prompts)[:, -1])
        small = GPT(9, 12, 2, 16, 2)
        tokens = torch.arange(8).view(2, 4)
        torch.testing.assert_close(small.state(tokens) @ small.tokens.weight.T, small(tokens)[:, -1])


class Uncached(CausalPolicy):
    """Runs over the whole sequence again for each token."""

    def start(self, batch, length):
        return []

    def extend(self, tokens, cache):
        cache.append(tokens)
        return self(torch.cat(cache, 1))[:, -1]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_generation_is_token_for_token_that_without_a_cache(root, temperature):
    environment, problems = problems_of(root)
    policy = policy_of(root)
    slow = Uncached(policy.model, policy.pad)
    found, expected = (
        roll_out(one, environment, problems, torch.Generator().manual_seed(1), temperature) for one in (policy, slow)
    )
    assert (found.tokens[:, 0] == environment.pad).any()
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-5, rtol=0)


def test_log_probabilities_are_those_of_a_full_pass(root):
    environment, problems = problems_of(root)
    found = roll_out(policy_of(root), environment, problems, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = policy_of(root)(found.tokens[:, :-1])[:, environment.prompt - 1 :]
    expected = token_log_probs(logits, found.tokens[:, environment.prompt :]) * found.mask
    torch.testing.assert_close(found.log_probs, expected, atol=1e-5, rtol=0)


def test_padding_at_the_beginning_changes_nothing(root):
    policy, tokens = policy_of(root), torch.tensor([[2, 30, 11, 40, 12]])
    padded = torch.cat([torch.full((1, 3), policy.pad), tokens], 1)
    with torch.no_grad():
        model = policy.model(tokens).logits
        torch.testing.assert_close(policy(tokens), model, atol=1e-5, rtol=0)
        torch.testing.assert_close(policy(padded)[:, 3:], model, atol=1e-5, rtol=0)


def test_words_limit_a_model_to_an_environments_own(root):
    policy = policy_of(root)
    words = torch.tensor([5, 9, 2])
    limited = CausalPolicy(policy.model, policy.pad, words)
    tokens = torch.tensor([[0, 2, 1, 1]])
    with torch.no_grad():
        torch.testing.assert_close(limited(tokens), policy.model(words[tokens]).logits[..., words], atol=1e-5, rtol=0)
        cache = limited.start(1, 4)
        limited.extend(tokens[:, :3], cache)
        torch.testing.assert_close(limited.extend(tokens[:, 3:], cache), limited(tokens)[:, -1], atol=1e-5, rtol=0)


def test_answers_are_verified_and_numbered_by_problem(root):
    environment, problems = problems_of(root)
    rows = problems[[0, 0, 0, 3, 3, 3]]
    _, state = environment.start(rows)
    truth = read_texts(rows[:, environment.text :])
    assert truth[0] != truth[3]
    said = [
        f"\\boxed{{{truth[0]}}}{END}\\boxed{{1}}",
        f"#### 0{END}",
        "no",
        f"#### {truth[0]}",
        "#### 0",
        f"So: #### {truth[3]}.0",
    ]
    tokens = environment.tokenizer(said, padding=True, return_tensors="pt")["input_ids"]
    environment.act(state, tokens, torch.ones(6, dtype=torch.bool))
    rewards, solved, answers = environment.judge(state)
    assert answers.tolist() == [0, 1, -1, 1, 2, 0]
    assert rewards.tolist() == solved.float().tolist() == [1, 0, 0, 0, 0, 1]


SETTINGS = {"policy": "hf:tiny", "prompt_tokens": 24, "response_tokens": 6, "prompts": 2, "group": 4, "evaluated": 2}
METHODS = (
    *("grpo", "entropy_bonus", "entropy_advantage", "high_entropy_tokens", "kl_cov", "clip_cov"),
    *("siren", "aepo", "lp_reg"),
)


@pytest.mark.parametrize("slug", METHODS)
def test_every_method_takes_steps_with_it(root, slug, monkeypatch):
    """Rewards are those of a lenient judge, since a random model is never right."""
    judge = TextProblems.judge

    def lenient(self, state):
        _, _, answers = judge(self, state)
        solved = (state["response"][:, 0] % 2).bool()
        return solved.float(), solved, answers

    monkeypatch.setattr(TextProblems, "judge", lenient)
    run = Run("gsm8k", test=True)
    before = load_causal("hf:tiny").state_dict()
    more = {"kl_weight": 0.01} if slug == "grpo" else {}
    method = create(slug, SETTINGS | {"iterations": 2, "report_every": 2, "learning_rate": 1e-2, "at_once": 32} | more)
    (metrics,) = method.train(run)
    assert 0 < metrics["train/reward"] < 1
    assert metrics["test/pass_32"] == 1
    after = run.part("model").model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["siren", "aepo", "lp_reg"])
def test_the_papers_suites_train(root, name):
    """Every entry as it stands, but for its model, data and sizes."""
    suite = read_suite(f"paper/{name}")
    small = SETTINGS | {"iterations": 1, "report_every": 1, "evaluated": 1, "micro_batch": 3, "updates_per_rollout": 2}
    for entry, spec in suite.methods.items():
        fields = type(create(spec.method or entry, {})).model_fields
        settings = {key: value for key, value in suite.settings.items() if key in fields} | spec.settings | small
        (metrics,) = create(spec.method or entry, settings).train(Run("gsm8k"))
        assert math.isfinite(metrics["train/loss"])


@pytest.mark.parametrize("slug", ["agent_grpo", "epo"])
def test_agents_act_in_its_words(root, slug):
    run = Run("micro_house", test=True)
    household = create(slug, {}).environment_of(run.data)
    words = tokens_of("hf:tiny", household.names)
    tokenizer = load_tokenizer("hf:tiny")
    said = [tokenizer.decode([token]).strip() for token in words.tolist()]
    assert said[3:] == household.names[3:]
    assert len(set(said[3:])) == len(household.names) - 3
    # Enough trajectories for a random model to do something that is valid.
    settings = {"policy": "hf:tiny", "prompts": 4, "group": 8, "evaluated": 4, "iterations": 2, "report_every": 2}
    more = {"entropy_weight": 0.1} if slug == "epo" else {}
    before = load_causal("hf:tiny").state_dict()
    (metrics,) = create(slug, settings | {"learning_rate": 1e-2} | more).train(run)
    assert 0 <= metrics["test/unseen_success"] <= 1
    after = run.part("model").model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_what_is_missing_is_said(root, tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        load_causal("hf:nowhere")
    with pytest.raises(ConfigError, match="no tokenizer in the folder"):
        list(create("grpo", SETTINGS | {"policy": "hf:mute"}).train(Run("gsm8k")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no causal language model"):
        load_causal(f"hf:{tmp_path / 'empty'}")
    with pytest.raises(ConfigError, match="no token of its own for 'go'"):
        tokens_of("hf:tiny", ["go", "go"])
    with pytest.raises(ConfigError, match="are in words"):
        list(create("grpo", SETTINGS | {"policy": "small"}).train(Run("gsm8k")))
    with pytest.raises(ConfigError, match="vocabulary of their own"):
        list(create("grpo", SETTINGS).train(Run("chain_countdown")))
