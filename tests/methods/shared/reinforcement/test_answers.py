import pytest

from regbench.methods.shared.reinforcement.answers import canonical, final_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Then $x = \boxed{3}$, so \boxed{\frac{1}{2}} it is.", r"\frac{1}{2}"),
        (r"\boxed{\text{a {b} c}}", r"\text{a {b} c}"),
        (r"thus \boxed 7 holds", "7"),
        (r"\fbox{12}", "12"),
        (r"an open \boxed{3", None),
        (r"\boxed{}", None),
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72"),
        ("#### 1\nno, wait\n#### 1,200", "1,200"),
        ("So it is.\nAnswer: $\\sqrt{2}$", "$\\sqrt{2}$"),
        ("The answer is 5.", "5."),
        ("nothing", None),
        ("", None),
    ],
)
def test_where_an_answer_is(text, expected):
    assert final_answer(text) == expected


@pytest.mark.parametrize(
    "same",
    [
        ("0.5", "1/2", r"\frac{1}{2}", r"\frac12", r"\dfrac{2}{4}", "$0.50$", ".5"),
        ("1,234,567", "1234567", "1234567.0", r"1\,234\,567", r"1234567 \text{ cm}"),
        ("-3/4", r"-\frac{3}{4}", "-0.75"),
        ("x=5", "5", r"\$5", "5%", r"5^\circ", "5.", r"\(5\)"),
        (r"\sqrt3", r"\sqrt{3}", r"\sqrt 3"),
        (r"\left(1, 2\right)", "(1,2)"),
        (r"\text{Monday}", "Monday"),
        (r"2\sqrt{2}", r"2 \sqrt{2}"),
    ],
)
def test_one_form_for_the_same_answer(same):
    assert len({canonical(answer) for answer in same}) == 1


@pytest.mark.parametrize(
    ("left", "right"),
    [("1", "2"), ("1/2", "2"), ("-1", "1"), ("(1,2)", "(2,1)"), ("1,2", "12"), (r"\sqrt{2}", "2"), ("3/0", "0"), ("A", "B")],
)
def test_others_differ(left, right):
    assert canonical(left) != canonical(right)
