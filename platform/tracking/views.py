"""Views of MLflow's UI: pages of runs with charts of ours, which MLflow keeps as tags of an experiment.

The tag ``mlflow.sharedViewState.KEY`` holds the state of a page, as JSON or as ``deflate;`` and its compressed text in base64;
in an envelope with a name it is also in the page's menu of views. (MLflow 3.17: ``ExperimentViewRuns``, ``SavedViews``.)
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from regbench.platform.records.records import Trial
from regbench.platform.tracking.description import IDENTITY, SweepDescription
from regbench.platform.tracking.names import mlflow_name
from regbench.platform.tracking.studies import STAGE, StudyRun

TAG = "mlflow.sharedViewState."
JUDGED, FIGURES, OTHERS = "judged", "figures", "others"
# Heights of cards, in pixels: all but the bars, and of each bar.
LOW, HIGH = 330, 500
FRAME, BAR = 150, 22


def view_key(sweep: SweepDescription, *place: str) -> str:
    """The key of a view: of a table of a sweep by its track and data set, of a study's trials by its entry, too."""
    return hashlib.sha256("/".join((sweep.identity, *place)).encode()).hexdigest()[:16]


def view_page(experiment_id: str, key: str) -> str:
    """The page of a view, below the UI's address; its state comes from the tag only if the address has no filter of its own."""
    query = {"workflowType": "machine_learning", "compareRunsMode": "CHART", "viewStateShareKey": key}
    return f"/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def comparison_view(sweep: SweepDescription, studies: Sequence[StudyRun], baseline_run: str) -> str:
    """The view that compares the studies of a table: bars of the judged metric, the figures side by side, all other bars.

    Args:
        sweep: whose studies.
        studies: of one track and data set.
        baseline_run: id of the run of their baseline; empty where there is none.
    """
    first = studies[0]
    metrics = dict.fromkeys(name for study in studies for name in study.metrics)
    figures = {
        "compareGroups": ["Tags", "Parameters"],
        "showChangeFromBaseline": False,
        "showDifferencesOnly": True,
        "baselineColumnUuid": baseline_run,
    }
    cards = [_bars(first.judged, JUDGED), _bars("difference", JUDGED), _card("DIFFERENCE", FIGURES, **figures)]
    cards += [_bars(name, OTHERS) for name in metrics if name not in (first.judged, "difference")]
    sections = [
        _section(JUDGED, f"{'higher' if first.mode == 'max' else 'lower'} is better", max(LOW, FRAME + BAR * len(studies))),
        _section(FIGURES, "figures", HIGH),
        _section(OTHERS, "others", LOW, shown=False),
    ]
    chosen = f"{_of(sweep)} AND tags.stage = '{STAGE}' AND tags.data = '{first.data}'"
    state = _compressed(_state(chosen, first.judged, first.mode, cards, sections))
    title = f"{sweep.name}, {first.data}"
    return json.dumps({"name": title, "createdAt": 0, "updatedAt": 0, "state": state}, sort_keys=True)


def trials_view(sweep: SweepDescription, trial: Trial, weights: Sequence[str]) -> str:
    """The view of a study's tuning trials: parallel coordinates over the searched settings and what tuning looked at.

    Args:
        sweep: whose study.
        trial: one of them.
        weights: names of settings whose axes come first.
    """
    settings = sorted(trial.searched, key=lambda name: (name not in weights, name))
    tuned = f"best/{trial.objectives[0]}"
    axes = {"selectedParams": [mlflow_name(name) for name in settings], "selectedMetrics": [mlflow_name(tuned)]}
    chosen = f"{_of(sweep)} AND tags.stage = 'tune' AND tags.data = '{trial.data}' AND tags.entry = '{trial.entry}'"
    cards = [_card("PARALLEL", JUDGED, showAllRuns=False, **axes)]
    return _compressed(_state(chosen, tuned, trial.modes[0], cards, [_section(JUDGED, trial.entry, HIGH)]))


def _of(sweep: SweepDescription) -> str:
    return f"tags.`{IDENTITY}` = '{sweep.identity}'"


def _state(chosen: str, by: str, mode: str, cards: list[dict[str, Any]], sections: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of the runs that a filter chooses, the best first. Sorted by date, the UI folds runs that are parts of others."""
    return {
        "searchFilter": chosen,
        "orderByKey": f"metrics.`{mlflow_name(by)}`",
        "orderByAsc": mode == "min",
        # Else there are charts of the first ten runs alone.
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": cards,
        "compareRunSections": sections,
        # Else sections are sorted by name.
        "isAccordionReordered": True,
    }


def _bars(metric: str, section: str) -> dict[str, Any]:
    return _card("BAR", section, metricKey=mlflow_name(metric))


def _card(kind: str, section: str, **settings: Any) -> dict[str, Any]:
    name = "-".join(("regbench", kind, str(settings.get("metricKey", ""))))
    return {"type": kind, "uuid": name, "metricSectionId": section, "deleted": False, "isGenerated": False} | settings


def _section(key: str, name: str, height: int, shown: bool = True) -> dict[str, Any]:
    columns = 1 if shown else 3
    return {"uuid": key, "name": name, "display": shown, "isReordered": True, "columns": columns, "cardHeight": height}


def _compressed(state: dict[str, Any]) -> str:
    text = json.dumps(state, sort_keys=True)
    return "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
