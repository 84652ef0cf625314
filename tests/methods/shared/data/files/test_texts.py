"""Texts as tokens, and language models of a folder as their classifiers."""

from pathlib import Path

import pytest
import torch

from regbench.methods.errors import ConfigError, DataError, RegbenchError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data.files.reading import read
from regbench.methods.shared.data.files.spec import FileData

transformers = pytest.importorskip("transformers")
WORDS = ["the", "a", "film", "was", "is", "truly", "not", "at", "all", "good", "great", "bad", "dull"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tokenizer of words, a small model with random parameters, and reviews whose last word decides."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    home = tmp_path_factory.mktemp("texts")
    known = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    words = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(home)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(known), max_position_embeddings=16, num_labels=5, **size)
    transformers.BertForSequenceClassification(config).save_pretrained(home)
    ends = [("good", "yes"), ("great", "yes"), ("bad", "no"), ("dull", "no")]
    lines = [
        f'"{start} {verb} {more}{end}",{label}'
        for end, label in ends
        for start in ("the film", "a film")
        for verb in ("was", "is")
        for more in ("", "truly ", "at all ")
    ]
    (home / "reviews.csv").write_text("\n".join(["review,liked", *lines]))
    return home


def spec(folder: Path, **changes: object) -> FileData:
    said = {"csv": str(folder / "reviews.csv"), "target": "liked", "text": "review", "tokenizer": str(folder)}
    return FileData(**said | changes)


def test_a_text_becomes_the_numbers_of_its_words_and_a_mask(folder):
    data = read("reviews", spec(folder))
    x = torch.cat([split.tensors[0] for split in (data.train, data.validation, data.test)])
    assert x.shape == (48, 2, 6)
    assert x.dtype == torch.int64
    numbers, mask = x.unbind(1)
    assert ((numbers != 0) == (mask == 1)).all()
    assert sorted(mask.sum(1).unique().tolist()) == [4, 5, 6]
    # The first word of each text is `the` or `a`.
    assert set(numbers[:, 0].tolist()) == {2, 3}
    assert data.meta["vocabulary"] == 2 + len(WORDS)
    assert read("reviews", spec(folder, length=4)).meta["shape"] == (2, 4)


def test_a_language_model_learns_to_classify_and_starts_from_its_folder(folder):
    method = create(
        "label_smoothing",
        {
            "architecture": f"hf:{folder}",
            "optimizer": "adam",
            "learning_rate": 0.01,
            "schedule": "constant",
            "epochs": 30,
            "batch_size": 8,
        },
    )
    run = Run(read("reviews", spec(folder)))
    start = method.build_model(run.data)
    saved = transformers.BertForSequenceClassification.from_pretrained(folder)
    given, own = start.model.bert.state_dict(), saved.bert.state_dict()
    assert all(given[name].equal(own[name]) for name in own)
    assert start.model.classifier.out_features == 2
    *_, last = method.train(run)
    assert last["val/accuracy"] > 0.9


def test_a_text_is_read_alike_whatever_it_is_padded_to(folder):
    network = create("cross_entropy", {"architecture": f"hf:{folder}"}).build_model(read("reviews", spec(folder))).eval()
    x = read("reviews", spec(folder)).test.tensors[0]
    longer = torch.cat([x, torch.zeros(len(x), 2, 3, dtype=torch.int64)], 2)
    torch.testing.assert_close(network(longer), network(x))


@pytest.mark.parametrize(
    ("slug", "settings", "says"),
    [
        ("mixup", {}, "mixup changes inputs by small steps or mixes them, and those of reviews are tokens"),
        ("trades", {}, "trades changes inputs"),
        ("cross_entropy", {"attack_radius": 0.1}, "cross_entropy changes inputs"),
        ("cross_entropy", {"architecture": "mlp"}, "architecture mlp does not take texts"),
        ("cross_entropy", {"architecture": "hf:nowhere"}, "architecture hf:nowhere: there is no such folder"),
    ],
)
def test_what_cannot_work_with_tokens_is_refused(folder, slug, settings, says):
    settings = {"architecture": f"hf:{folder}"} | settings
    with pytest.raises(ConfigError, match=says):
        create(slug, settings).build_model(read("reviews", spec(folder)))


def test_a_language_model_takes_nothing_but_texts(folder):
    with pytest.raises(ConfigError, match="needs texts, not inputs of shape"):
        create("cross_entropy", {"architecture": f"hf:{folder}"}).build_model(Run("digits").data)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"text": "revue"}, "has no column 'revue'; did you mean 'review'"),
        ({"tokenizer": "nowhere"}, "tokenizer nowhere: "),
        ({"tokenizer": None}, "texts need both `text`, their column, and `tokenizer`, its folder"),
        ({"drop": ["other"]}, "the column of texts is the only input"),
        ({"task": "regression"}, "texts are classified: leave out task"),
    ],
)
def test_wrong_texts_are_refused_in_a_line(folder, changes, says):
    with pytest.raises((DataError, RegbenchError, ValueError), match=says):
        read("reviews", spec(folder, **changes))
