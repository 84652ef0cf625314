"""Tiny copies of public sets of mathematical problems, in their real forms."""

import json

import pytest

from regbench.methods.errors import DataError
from regbench.methods.shared.data import math_problems
from regbench.methods.shared.data.texts import read_texts

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def pairs(data, part):
    """Problems and answers of a part."""
    rows, text = getattr(data, part).tensors[0], data.meta["text"]
    return list(zip(read_texts(rows[:, :text]), read_texts(rows[:, text:]), strict=True))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


def verl(problem, answer, number):
    """A row of DAPO-Math-17k and OpenR1-Math-46k: as verl's training reads it."""
    messages = [{"role": "system", "content": "Think."}, {"role": "user", "content": problem}]
    return {
        "data_source": "math_dapo",
        "prompt": messages[number % 2 :],
        "ability": "MATH",
        "reward_model": {"ground_truth": answer, "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": str(number)},
    }


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_gsm8k(root):
    (root / "gsm8k").mkdir()
    for part, count in (("train", 40), ("test", 3)):
        rows = [
            {"question": f"Zoë has {i} apples.", "answer": f"Half of it is <<{i}/2={i / 2}>>.\n#### {i:,}"}
            for i in range(count)
        ]
        (root / "gsm8k" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    data = math_problems.gsm8k()
    assert (len(data.train), len(data.validation), len(data.test)) == (38, 2, 3)
    every = pairs(data, "train") + pairs(data, "validation")
    assert sorted(every) == sorted((f"Zoë has {i} apples.", str(i)) for i in range(40))
    assert pairs(data, "test")[2] == ("Zoë has 2 apples.", "2")


def test_math(root):
    for part in ("train", "test"):
        for kind in ("algebra", "geometry"):
            folder = root / "MATH" / part / kind
            folder.mkdir(parents=True)
            for number in range(2):
                row = {
                    "problem": f"{kind} {number}",
                    "level": "Level 5",
                    "type": kind,
                    "solution": r"so $\boxed{\frac{1}{2}}$.",
                }
                (folder / f"{number}.json").write_text(json.dumps(row))
    data = math_problems.competition_math()
    assert pairs(data, "test") == [
        (f"{kind} {number}", r"\frac{1}{2}") for kind in ("algebra", "geometry") for number in (0, 1)
    ]
    assert len(data.train) + len(data.validation) == 4


def test_deepscaler_and_aime(root):
    rows = [{"problem": f"p{i}", "answer": str(i), "solution": ""} for i in range(30)]
    (root / "deepscaler" / "train").mkdir(parents=True)
    (root / "deepscaler" / "train" / "deepscaler.json").write_text(json.dumps(rows))
    aime = [{"id": i, "problem": f"a{i}", "solution": "…", "answer": f"{i:03}", "year": "2024"} for i in range(3)]
    write(root / "deepscaler" / "test" / "train-00000-of-00001.parquet", aime)
    with pytest.raises(DataError, match="begins with both"):
        math_problems.deepscaler()
    (root / "deepscaler" / "test" / "train-00000-of-00001.parquet").rename(root / "deepscaler" / "test" / "aime_2024.parquet")
    data = math_problems.deepscaler()
    assert pairs(data, "test") == [("a0", "000"), ("a1", "001"), ("a2", "002")]
    assert len(data.train) == 28


@pytest.mark.parametrize(("loader", "folder"), [("dapo_math", "dapo-math-17k"), ("openr1_math", "openr1-math-46k")])
def test_rows_of_verl(root, loader, folder):
    rows = [verl(f"p{i}", str(i), i) for i in range(20)]
    write(root / folder / "train" / "rows.parquet", rows + rows)
    write(root / folder / "test" / "aime-2024.parquet", [verl("q", "12", 0)] * 32)
    more = root / folder / "test" / "math500.jsonl"
    more.write_text(json.dumps({"problem": "r", "solution": r"\boxed{3}", "answer": "3", "unique_id": "test/x/1.json"}))
    data = getattr(math_problems, loader)()
    assert sorted(pairs(data, "train") + pairs(data, "validation")) == sorted((f"p{i}", str(i)) for i in range(20))
    assert pairs(data, "test") == [("q", "12"), ("r", "3")]


def test_what_is_wrong_is_said(root):
    with pytest.raises(DataError, match=r"train\.jsonl"):
        math_problems.gsm8k()
    (root / "gsm8k").mkdir()
    for part in ("train", "test"):
        (root / "gsm8k" / f"{part}.jsonl").write_text('{"question": "q", "answer": "it is 3"}\n')
    with pytest.raises(DataError, match="no final answer"):
        math_problems.gsm8k()
    (root / "gsm8k" / "train.jsonl").write_text("no JSON")
    with pytest.raises(DataError, match="no problems of a known form"):
        math_problems.gsm8k()


def test_problems_that_are_too_long_are_left_out(root):
    (root / "gsm8k").mkdir()
    for part in ("train", "test"):
        rows = [{"question": "ä" * length, "answer": "#### 1"} for length in (3, 2048, 2049)]
        (root / "gsm8k" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = math_problems.gsm8k()
    assert [len(problem) for problem, _ in pairs(data, "test")] == [3, 2048]
