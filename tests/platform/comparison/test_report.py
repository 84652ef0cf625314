"""The report as a page: well-formed, self-contained, escaped, complete."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from test_compare import ALIKE, BASE, BETTER, SMOOTHING, WORSE, Sweep

import regbench.platform.comparison.compare as comparing
from regbench.methods.errors import StorageError
from regbench.platform.comparison import diagnosis_charts, result_charts, tuning_charts
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.looks import looks
from regbench.platform.comparison.parallel import parallel
from regbench.platform.comparison.report import publish, render
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

pytestmark = pytest.mark.filterwarnings("error")

ODD = '<b>&"odd"$x_1$'
VOID = {"meta", "br", "link", "img", "hr", "input", "source", "col"}
LOADING = {"link", "img", "iframe", "object", "embed", "image", "audio", "video", "source"}


class Page(HTMLParser):
    """Collects elements, ids, links and text of a page; fails on tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [(tag, name, attrs[name]) for name in ("href", "src", "xlink:href", "data", "srcset") if attrs.get(name)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def shown(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two data sets, every kind of section, and hostile names."""
    made = Sweep(tmp_path_factory.mktemp("sweep"), objectives=("val/accuracy", "val/nll"), modes=("max", "min"))
    for data in ("digits", "digits_noisy"):
        made.confirm("cross_entropy", BASE, data=data)
        made.confirm("label_smoothing", BETTER, data=data, searched={"smoothing": 0.125})
        made.confirm("label_smoothing", ALIKE, data=data, stage="ablate")
        made.confirm("bad", WORSE, data=data, method="method_of_someone")
    made.trial("cross_entropy", "tune", 0, [{"val/accuracy": 0.875, "val/nll": 0.25}] * 3)
    made.tune("label_smoothing", 9, stopped=(2,))
    made.tune("label_smoothing", 9, data="digits_noisy", space={"smoothing": FloatDistribution(0.01, 0.5, log=True)})
    made.trial(ODD, "tune", 0, [], status="failed", reason="<script>alert(1)</script>", method="unknown<method>")
    made.describe(description="<i>all</i> of it", trials=9, sampler={"name": "tpe"}, confirm={"seeds": 5, "ablate": True})
    return made


@pytest.fixture(scope="module")
def html(sweep):
    return render(compare(sweep.records))


def test_page_is_well_formed_and_ids_are_unique(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert html.lstrip().startswith("<!doctype html>")


def test_references_inside_the_page_exist(html):
    page = Page(html)
    inner = [target[1:] for _, _, target in page.links if target.startswith("#")] + re.findall(r"url\(#([^)]+)\)", html)
    assert len(inner) > 20, "swatches, contents, cells of the matrix"
    assert set(inner) <= set(page.ids)


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    assert not LOADING & set(page.tags)
    assert not [tag for tag, name, _ in page.links if tag == "script"]
    outward = [(tag, name, target) for tag, name, target in page.links if not target.startswith("#")]
    assert {(tag, name) for tag, name, _ in outward} == {("a", "href")}
    assert {target for _, _, target in outward} == {"https://arxiv.org/abs/1512.00567"}
    assert not re.search(r"@import|url\((?!#)", html)


def test_hostile_strings_are_escaped(html):
    page = Page(html)
    assert "i" not in page.tags
    assert "b" not in page.tags
    for text in (ODD, "<script>alert(1)</script>", "<i>all</i> of it", "unknown<method>"):
        assert text in page.shown


def test_every_entry_and_section_is_there(html):
    shown = Page(html).shown
    assert "not drawn" not in shown
    for text in (
        *("cross_entropy", "label_smoothing", "bad", "better", "worse", "helps", "ε = 0.0", "smoothing=0.125", "Friedman"),
        *("Not confirmed: validation only", "Failed trials", "effect of its weights", "Learning curves", "Sensitivity"),
        *(
            "Importance",
            "Trade-off",
            "Over data sets",
            "9 trials a study, sampler tpe",
            "differences to the baseline on 2 data",
        ),
        *(
            "5 fresh seeds, also with the weights off",
            "regbench 0.1.0",
            "node-1 (cpu)",
            "Rethinking the Inception Architecture",
        ),
    ):
        assert text in shown, text


def test_figures_take_the_colour_of_the_page_and_have_names(html):
    assert html.count("currentColor") > 100
    assert html.count('role="img"') > 8
    assert html.count('role="img"') == len(re.findall(r'role="img" aria-label="[^"]{9,}"', html))


def test_the_answer_comes_first_and_the_rest_is_folded(html):
    order = [
        html.index(text)
        for text in (
            *('class="headline"', 'class="matrix"', 'class="answer"', "Differences to the baseline and", "Learning curves"),
            *("Sensitivity to the weights", "Trade-off of two", "Importance of the", "<summary>Tuning trials"),
        )
    ]
    assert order == sorted(order)
    for text in (
        "All test metrics",
        "Tuned settings and effort",
        "Failed trials",
        "Read this with the numbers",
        "What was run",
    ):
        assert re.search(rf"<summary>{text}", html), text


def rows(html, kind):
    """The cells of the first table of a kind, by entry, as text."""
    table = re.search(rf'<table class="{kind}">(.*?)</table>', html, re.DOTALL)[1]
    found = {}
    for row in re.findall(r"<tr data-entry=.*?</tr>", table, re.DOTALL):
        entry, *cells = (
            " ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        )
        found[entry.split()[0]] = [entry, *cells]
    return found


def test_the_answer_has_a_row_an_entry_with_everything_in_it(sweep, html):
    entries = compare(sweep.records).of("entries", "classification", "digits").set_index("entry")
    found = rows(html, "answer")
    assert list(found) == ["label_smoothing", "cross_entropy", "bad"]
    name, mean, difference, verdict, effect, helps, cost, units = found["label_smoothing"]
    row = entries.loc["label_smoothing"]
    (weight,) = compare(sweep.records).of("weights", "classification", "digits")["number"]
    assert name == f"label_smoothing ε = {weight:.3g}"
    assert mean.startswith("0.939")
    for told, of in ((difference, "difference"), (effect, "ablation")):
        numbers = [
            float(number) for number in re.findall(r"[+−][\d.]+", told.replace("−", "-")) or re.findall(r"[+-][\d.]+", told)
        ]
        assert numbers == pytest.approx([row[f"{of}_value"], row[f"{of}_low"], row[f"{of}_high"]], abs=2e-4)
    assert verdict.startswith("▲ better p ")
    assert helps.startswith("▲ helps p ")
    assert (cost, units) == ("1.00 ×", "5 seeds")
    assert found["bad"][3].startswith("▼ worse")
    assert found["cross_entropy"][3] == "● baseline"


def test_the_matrix_says_each_verdict_by_a_symbol(html):
    found = rows(html, "matrix")
    assert list(found)[:3] == ["label_smoothing", "cross_entropy", "bad"], "what was not compared comes last"
    assert [cell[0] for cell in found["label_smoothing"][1:]] == ["▲", "▲"]
    assert [cell[0] for cell in found["bad"][1:]] == ["▼", "▼"]
    assert found["cross_entropy"][1:] == ["●", "●"]


def layer(chart, number):
    """A layer's rows: its own data, or the chart's."""
    found = chart.spec["layer"][number]
    return found.get("data", chart.spec["data"])["values"]


def test_the_forest_holds_differences_with_their_simultaneous_intervals(sweep):
    found = compare(sweep.records)
    (chart,) = result_charts.forest(found, "classification", "digits", looks(found.entries["entry"]))
    entries = found.of("entries", "classification", "digits").set_index("entry")
    rows = chart.spec["data"]["values"]
    assert [row["label"] for row in rows] == ["▲ label_smoothing", "▼ bad"]
    for row in rows:
        of_entry = entries.loc[row["entry"]]
        expected = [of_entry[f"difference_{name}"] for name in ("value", "low", "high")]
        assert [row["value"], row["low"], row["high"]] == pytest.approx(expected, rel=1e-5)
    dots = [row["value"] for row in layer(chart, 1) if row["entry"] == "bad"]
    assert sorted(dots) == pytest.approx(sorted(a - b for a, b in zip(WORSE, BASE, strict=True)))


def test_stopped_trials_are_hollow_and_the_tuned_value_and_the_baseline_are_marked(sweep):
    found = compare(sweep.records)
    (chart,) = tuning_charts.sensitivity(found, "classification", "digits", looks(found.entries["entry"]))
    trials = chart.spec["data"]["values"]
    assert len(trials) == 9
    assert [row["stopped"] for row in trials].count(True) == 1
    hollow, filled = (next(part for part in chart.spec["layer"] if part.get("transform") == [{"filter": text}])
                      for text in ("datum.stopped", "!datum.stopped"))  # fmt: skip
    assert (hollow["mark"]["filled"], filled["mark"]["filled"]) == (False, True)
    assert not any(part["mark"]["type"] == "line" for part in chart.spec["layer"])
    (tuned,) = layer(chart, -1)
    assert tuned["x"] == pytest.approx(found.weights.query("data == 'digits'")["number"].iloc[0], rel=1e-5)
    (baseline,) = layer(chart, 0)
    assert baseline["at"] == 0.875


def test_replicates_show_how_weights_vary_and_where_variance_comes_from(sweep):
    found = compare(sweep.records)
    one = found.weights.iloc[0].to_dict()
    weights = pd.DataFrame([one | {"replicate": number, "number": value} for number, value in enumerate((0.1, 0.4, 0.2))])
    shares = [("tuning", 0.62), ("split", 0.3), ("seed", 0.08)]
    variance = pd.DataFrame(
        [
            {"track": one["track"], "data": one["data"], "component": name, "variance": share, "share": share}
            for name, share in shares
        ]
    )
    entries = found.entries.assign(unit="replicate", units=3, seeds=6)
    repeated = replace(found, entries=entries, weights=weights, variance=variance)
    page = render(repeated)
    shown = Page(page).shown
    assert "ε = 0.2 (0.1 to 0.4)" in shown
    assert "3 replicates (6 seeds)" in shown
    assert (
        "Variance of test accuracy: 62 % from tuning, 30 % from the split of the data, 8 % from the seed of training." in shown
    )
    assert re.findall(r'class="(\w+)" style="flex: ([\d.]+) ', page) == [(name, str(share)) for name, share in shares]
    (chart,) = tuning_charts.sensitivity(repeated, one["track"], one["data"], looks(entries["entry"]))
    assert [row["x"] for row in layer(chart, -1)] == [0.1, 0.4, 0.2]


def test_without_replicates_it_is_said_that_the_luck_of_tuning_is_in_no_interval(html):
    assert "Tuned once: intervals cover the luck of the seeds, not that of tuning" in Page(html).shown


def test_parallel_coordinates_hold_every_trial_and_a_brush_for_each_axis(sweep):
    found = compare(sweep.records)
    chart = parallel(found, "classification", "digits", "label_smoothing", looks(["label_smoothing"])["label_smoothing"])
    trials = chart.spec["data"][0]["values"]
    assert len(trials) == 9
    assert sum(trial["stopped"] for trial in trials) == 1
    assert {"v0", "v1", "v2"} <= trials[0].keys()
    assert sum(signal["name"].startswith("brush") for signal in chart.spec["signals"]) == 3
    assert parallel(found, "classification", "digits", "bad", looks(["bad"])["bad"]) is None


def test_plots_of_nothing_are_none(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.trial("label_smoothing", "tune", 0, [], status="failed", reason="x")
    found = compare(sweep.records)
    place = (found, "classification", "digits", looks(found.entries["entry"]))
    draws = [result_charts.forest, result_charts.curves, result_charts.trade_offs, diagnosis_charts.calibration]
    draws += [diagnosis_charts.spectra, tuning_charts.sensitivity, tuning_charts.importance, tuning_charts.learning]
    for draw in draws:
        assert draw(*place) == []


CALIBRATION = {"cross_entropy": (0.05, 0.40, 0.015), "label_smoothing": (0.20, 0.45, 0.008), "mixup": (0.10, 0.30, 0.009)}


def calibrated(folder, *, seeds=3, aurc=True):
    """A confirmed sweep whose entries have these mean ECE, NLL and AURC, spread by a tenth from seed to seed."""
    made = Sweep(folder)
    for entry, means in CALIBRATION.items():
        for number in range(seeds):
            spread = 1 + 0.1 * (number - (seeds - 1) / 2)
            values = {f"test/{name}": mean * spread for name, mean in zip(("ece", "nll", "aurc"), means, strict=True)}
            if not aurc and entry == "mixup":
                del values["test/aurc"]
            made.trial(entry, "confirm", number, [{"val/accuracy": 0.9, "test/accuracy": 0.9} | values], seed=number, planned=1)
    return compare(made.records)


def test_calibration_is_drawn_where_it_is(tmp_path):
    found = calibrated(tmp_path)
    look = looks(found.entries["entry"])
    charts = diagnosis_charts.calibration(found, "classification", "digits", look)
    assert len(charts) == 3
    for panel, chart in enumerate(charts):
        drawn = chart.svg("x")
        place = {entry: marks(drawn, look[entry].colour) for entry in CALIBRATION}
        (a, b, c), (x, y, z) = zip(*((CALIBRATION[entry][panel], place[entry][0][0]) for entry in CALIBRATION), strict=True)
        assert (y - x) / (z - x) == pytest.approx((b - a) / (c - a), rel=2e-2)
        assert len({point[1] for points in place.values() for point in points}) == 3, "a row an entry"


def marks(svg, colour):
    """Places of the marks that are filled with a colour, in pixels."""
    found = re.findall(rf'<path transform="translate\(([\d.-]+),([\d.-]+)\)" d="[^"]+" fill="{colour}"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_calibration_has_a_panel_for_each_of_its_metrics(tmp_path):
    shown = Page(render(calibrated(tmp_path))).shown
    assert "not drawn" not in shown
    for text in ("Can the confidences be trusted?", "test ece (left is better)", "test nll (left", "test aurc (left"):
        assert text in shown


def test_calibration_does_without_an_interval_and_without_a_value(tmp_path):
    """One seed, and an entry that does not report a metric."""
    assert "test aurc" in Page(render(calibrated(tmp_path, seeds=1, aurc=False))).shown


def test_calibration_is_not_asked_of_tracks_that_do_not_report_it(html):
    assert "Can the confidences be trusted?" not in Page(html).shown


EIGENVALUES = {
    "koopman_autoencoder": [(0.9, 0.3), (0.9, -0.3), (0.5, 0.0)],
    # The conjugate of the last one was cut off.
    "koopman_information": [(0.98, 0.0), (0.8, 0.5), (0.8, -0.5), (0.2, 0.1)],
}


def spectral(folder):
    """A confirmed sweep of the dynamics track; operators shrink by a hundredth from seed to seed."""
    made = Sweep(folder, track="dynamics", objectives=("val/nrmse_20", "val/effective_dimension"), modes=("min", "max"))
    for entry, values in EIGENVALUES.items():
        for number, stage in enumerate(["tune", "confirm", "confirm"]):
            metrics = {
                "val/nrmse_20": 0.4,
                "val/effective_dimension": 3.0,
                "test/nrmse_20": 0.5,
                "test/effective_dimension": 3.0,
            }
            for place, parts in enumerate(values):
                for part, size in zip(("real", "imag"), parts, strict=True):
                    metrics[f"spectrum/{place:02}_{part}"] = (1 - 0.01 * number) * size
            metrics |= {"spectrum/system_real": 0.8, "spectrum/system_imag": 0.6}
            made.trial(entry, stage, number, [metrics], data="van_der_pol", seed=number, planned=1)
    return compare(made.records)


def test_spectra_hold_what_the_trials_ended_with(tmp_path):
    rows = spectral(tmp_path).spectra
    own = rows[rows["eigenvalue"] != "system"]
    for entry, values in EIGENVALUES.items():
        for seed, stage in enumerate(["tune", "confirm", "confirm"]):
            chosen = own[(own["entry"] == entry) & (own["seed"] == seed)]
            assert set(chosen["stage"]) == {stage}
            expected = [size * (1 - 0.01 * seed) for parts in values for size in parts]
            assert chosen[["real", "imag"]].to_numpy().ravel() == pytest.approx(expected)


def test_spectra_are_drawn_with_the_unit_circle_and_the_systems_own(tmp_path):
    found = spectral(tmp_path)
    charts = diagnosis_charts.spectra(found, "dynamics", "van_der_pol", looks(found.entries["entry"]))
    # Three operators each; of the second, the conjugate that is not recorded is drawn too, and of both, that of the system.
    for chart, count in zip(charts, (3 * 3, 3 * 5), strict=True):
        values = chart.spec["data"]["values"]
        assert sum(row["what"] != "system" for row in values) == count
        drawn = {(round(row["real"], 3), round(row["imag"], 3)) for row in values}
        assert drawn == {(real, -imag) for real, imag in drawn}
        assert {(0.8, 0.6), (0.8, -0.6)} <= drawn
    page = Page(render(found))
    for text in ("Spectra of the linear operators", "Filled: confirmation seeds", "Hollow: the tuned configuration"):
        assert text in page.shown
    assert len(page.ids) == len(set(page.ids))


def test_error_is_drawn_against_effective_dimension(tmp_path):
    shown = Page(render(spectral(tmp_path))).shown
    assert "not drawn" not in shown
    assert "val/nrmse_20 of the tuning trials" in shown
    assert "val/effective_dimension" in shown


def test_spectra_are_not_asked_of_tracks_that_have_none(html):
    assert "Spectra of the linear operators" not in Page(html).shown


def test_a_single_seed_and_a_categorical_setting_are_drawn(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.confirm("label_smoothing", [0.9], seeds=[1])
    sweep.tune("label_smoothing", 4)
    sweep.describe()
    found = compare(sweep.records)
    assert "one seed only" in Page(render(found)).shown
    chart = parallel(found, "classification", "digits", "label_smoothing", looks(["label_smoothing"])["label_smoothing"])
    assert [scale["domain"] for scale in chart.spec["scales"] if scale["name"] == "s1"] == [["adam", "sgd"]]


@pytest.mark.parametrize("content", [None, b"{}", b'{"suite": {}, "studies": [{}], "provenance": {}}'])
def test_missing_facts_and_empty_sweeps_give_a_page(tmp_path, content):
    storage = Storage(tmp_path / "demo")
    if content:
        storage.write("suite.json", content)
    assert "nothing to compare" in Page(render(compare(Records(storage)))).shown


def test_several_sweeps_in_one_page(tmp_path):
    for name in ("old", "new"):
        sweep = Sweep(tmp_path, name)
        sweep.confirm("cross_entropy", BASE)
    page = Page(render(compare([Records(Storage(tmp_path / name)) for name in ("old", "new")])))
    assert "cross_entropy (old)" in page.shown
    assert "old and new" in page.shown
    assert len(page.ids) == len(set(page.ids))


def test_what_is_noted_of_several_entries_is_told_once(tmp_path):
    sweep = Sweep(tmp_path)
    for entry in ("cross_entropy", "label_smoothing"):
        sweep.confirm(entry, [0.9], seeds=[1000])
    page = Page(render(compare(sweep.records)))
    assert "cross_entropy, label_smoothing: one seed only" in page.shown
    assert page.shown.count("one seed only") == 1


def test_publish_writes_the_page_and_the_tables(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.confirm("cross_entropy", BASE)
    found = publish(sweep.records, Storage(tmp_path / "deep"))
    assert (tmp_path / "deep" / "report.html").read_text() == render(found)
    assert "cross_entropy" in (tmp_path / "deep" / "entries.csv").read_text()


def test_unwritable_target_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        publish(Sweep(tmp_path).records, Storage(tmp_path / "file"))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("extreme", [1.7e308, 0.0])
def test_diagnoses_that_cannot_be_made_do_not_take_the_answer_with_them(tmp_path, extreme):
    sweep = Sweep(tmp_path)
    for entry in ("cross_entropy", "label_smoothing"):
        for number in range(9):
            value = extreme * (-1) ** number
            report = {"val/accuracy": value, "val/nll": value}
            sweep.trial(entry, "tune", number, [report] * 3, searched={"smoothing": 0.01 + 0.01 * number})
        sweep.studies.append({"entry": entry, "data": "digits", "space": {"smoothing": distribution_to_json(SMOOTHING)}})
        sweep.confirm(entry, BASE)
    sweep.describe()
    page = render(compare(sweep.records))
    assert "Nothing helps on digits" in page
    assert "identical at" in page
    assert "Traceback" not in page


def test_a_plot_that_raises_leaves_a_line_and_the_rest_of_the_page(sweep, monkeypatch):
    def broken(*arguments: object) -> str:
        raise ValueError("<nothing> to scale")

    monkeypatch.setattr(result_charts, "curves", broken)
    monkeypatch.setattr(comparing, "importance_of", broken)
    found = compare(sweep.records)
    page = render(found)
    assert "not drawn: ValueError: &lt;nothing&gt; to scale" in page
    assert "no importance here: ValueError" in page
    assert page.count("<svg") > 3
    assert found.entries["confirmed"].any()
