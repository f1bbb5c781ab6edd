"""An evaluation for people: one HTML file with maps to swipe between, the worst places first, tables and curves."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from tasks.charts import STYLE as CHARTS
from tasks.charts import precision_recall_chart, reliability_chart
from tasks.evaluation_pictures import STYLE as PICTURES
from tasks.evaluation_pictures import Pictures, Read
from tasks.page import page, table
from tasks.raster.classes import ClassMap
from tasks.raster.scores.cells import Interval
from tasks.score_results import SLACK, Results
from tasks.scoring import BOUNDARY
from tasks.workspace import Workspace


def evaluation_page(
    results: Results, workspace: Workspace, predicted: Read, true: Read, classes: ClassMap, *, about: dict[str, Any]
) -> str:
    """The page.

    Args:
        results: what was found.
        workspace: whose map or labels were scored.
        predicted: class ids of a window, as they were scored.
        true: the same of the truth.
        classes: the map's.
        about: what was scored against what.
    """
    pictures = Pictures(workspace, predicted, true, classes)
    what = "Labels" if about["what"] == "labels" else "Map"
    parts = [f"<h1>{what} against truth</h1>", _summary(results, workspace, about)]
    parts += ["<h2>Side by side</h2>", pictures.swipe()]
    parts += ["<h2>Classes</h2>", _class_table(results), f"<p class=note>{_CLASSES}</p>"]
    parts += ["<h2>What is taken for what</h2>", _confusion(results)]
    parts += ["<h2>Where it is worst</h2>", pictures.worst(results), pictures.every_cell(results)]
    parts += _more(results, classes)
    return page(f"{what.lower()} against truth", parts, style=_STYLE + PICTURES + CHARTS)


def _how_sure(results: Results) -> str:
    cells, side = results.intervals.cells, results.cells.side
    if results.intervals.pixel_accuracy is None:
        return f"Too few cells of {side}² pixels hold any, {cells}, to tell intervals."
    return (
        f"Intervals hold 95 % of what {cells} cells of {side}² pixels give when they are drawn with replacement, 1,000 "
        "times."
    )


def _summary(results: Results, workspace: Workspace, about: dict[str, Any]) -> str:
    scores, intervals = results.scores, results.intervals
    said = [
        f"<strong>mean IoU {_text(scores.mean_iou)}</strong>{_range(intervals.mean_iou)}",
        f"pixel accuracy {_text(scores.pixel_accuracy)}{_range(intervals.pixel_accuracy)}",
        f"mean recall {_text(scores.mean_recall)}",
    ]
    told = [f"<p class=big>{' · '.join(said)}</p>"]
    if about["ablation"]:
        told.append("<p class=warning>What is scored here has seen this truth: no evidence of its quality.</p>")
    told.append(
        f"<p>{escape(workspace.scene_names)}, against {escape(str(about['truth']).rpartition('/')[2])}. "
        f"{results.matrix.sum():,} pixels have a class on both sides. {_how_sure(results)}</p>"
    )
    if results.scenes:
        rows = [
            [
                name.rpartition("/")[2],
                f"{_text(found.mean_iou)}{_range(by_place.mean_iou)}",
                f"{_text(found.pixel_accuracy)}{_range(by_place.pixel_accuracy)}",
            ]
            for name, (found, by_place) in results.scenes.items()
        ]
        told.append(table(["scene", "mean IoU", "pixel accuracy"], rows))
    return "".join(told)


def _class_table(results: Results) -> str:
    s, edges = results.scores, results.boundaries
    head = ["class", "share of truth", "IoU", "95 %", "F1 (Dice)", "precision", "recall", "accuracy"]
    head += ["boundary IoU"] if edges else []
    head += ["TP", "FP", "FN"]
    total = max(sum(s.truth), 1)
    rows = []
    for n, name in enumerate(results.classes):
        if not s.truth[n] and not s.prediction[n]:
            continue
        row = [name, f"{s.truth[n] / total:.1%}", _text(s.iou[n]), _range(results.intervals.iou[n]).strip(" ()") or "-"]
        row += [_text(v[n]) for v in (s.f1, s.precision, s.recall, s.accuracy)]
        row += [_text(edges.iou[n])] if edges else []
        rows.append(row + [f"{v[n]:,}" for v in (s.found, s.invented, s.missed)])
    return table(head, rows)


def _confusion(results: Results) -> str:
    """Shares of each true class; the pixels themselves are told where the pointer rests."""
    matrix = results.matrix
    there = [n for n in range(len(matrix)) if matrix[n].any() or matrix[:, n].any()]
    head = "".join(f"<th>{escape(results.classes[n])}</th>" for n in there)
    rows = []
    for n in there:
        total = int(matrix[n].sum())
        cells = []
        for k in there:
            share = matrix[n, k] / total if total else 0.0
            colour = f"rgba({'46,125,80' if n == k else '200,60,40'},{share:.3f})"
            said = f"{share:.1%}" if total else "-"
            cells.append(f'<td style="background:{colour}">{said}<br><small>{matrix[n, k]:,}</small></td>')
        rows.append(f"<tr><th>{escape(results.classes[n])}</th>{''.join(cells)}<td class=note>{total:,}</td></tr>")
    return (
        "<table class=confusion><caption>Rows: the truth. Columns: what it was called, as a share of the row, and in "
        f"pixels.</caption><tr><th></th>{head}<th class=note>pixels</th></tr>{''.join(rows)}</table>"
    )


def _more(results: Results, classes: ClassMap) -> list[str]:
    found = []
    if results.objects is not None:
        o = results.objects
        head = ["", "in the truth", "in the map", "TP", "FP", "FN", "AP50", "AP50:95", "PQ", "SQ", "RQ"]
        numbers = [f"{n:,}" for n in (o.truth, o.prediction, o.true_positives, o.false_positives, o.false_negatives)]
        shares = (o.average_precision_50, o.average_precision, o.panoptic_quality, o.segmentation_quality,
                  o.recognition_quality)  # fmt: skip
        found += [
            "<h2>Objects one by one</h2>",
            table(head, [[results.named["objects"], *numbers, *map(_text, shares)]]),
        ]
    if results.roads is not None:
        r = results.roads
        slack = [_text(v) for v in (r.relaxed.precision, r.relaxed.recall, r.relaxed.f1, r.relaxed.iou)]
        marbles = [_text(v) for v in (r.topo.precision, r.topo.recall, r.topo.f1)]
        rows = [[f"pixels, {SLACK} px slack", *slack], ["TOPO", *marbles, ""]]
        found += [
            "<h2>Roads as a network</h2>",
            table([results.named["roads"], "precision", "recall", "F1", "IoU"], rows),
        ]
        found.append(
            f"<p>APLS {_text(r.apls.apls)}: paths of the truth {_text(r.apls.truth_to_proposal)}, of the map "
            f"{_text(r.apls.proposal_to_truth)}. Both networks are drawn from the masks; distances are in {r.unit}.</p>"
        )
    if results.curves:
        lines = {name: (curve, "rgb({},{},{})".format(*classes.classes[classes.id(name)].colour))
                 for name, curve in results.curves.items()}  # fmt: skip
        found += ["<h2>Other thresholds</h2>", precision_recall_chart(lines)]
        found.append(
            "<p class=note>What each class would give if it were drawn wherever its probability passes a threshold; "
            "the disc is the threshold with the best F1, the number is the average precision.</p>"
        )
    if results.calibration is not None:
        c = results.calibration
        found += ["<h2>Can the probabilities be believed?</h2>", reliability_chart(c.bins)]
        found.append(
            f"<p>Expected calibration error {_text(c.expected_error)}, largest {_text(c.maximum_error)}; Brier score "
            f"{_text(c.brier)}; negative log-likelihood {_text(c.log_loss)} nats.</p>"
        )
    return found


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


_CLASSES = (
    "IoU: what truth and map have in common, by what either has. Accuracy: pixels rightly called it or rightly not. "
    f"Boundary IoU: IoU of what lies within {BOUNDARY} pixels of a boundary. TP, FP, FN: pixels found, invented and "
    "missed."
)
_STYLE = """
.big { font-size: 1.15rem } .note { color: #555; font-size: 13px; font-weight: 400 }
.warning { background: #fff3e0; border-left: 4px solid #e8590c; padding: .5rem 1rem }
table { font-size: 14px } .confusion td { min-width: 4.5rem } .confusion th { text-align: left }
"""
