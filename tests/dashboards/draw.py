#!/usr/bin/env python3
"""Draws dashboards that board.py has evaluated: the panels, where and as their JSON says, in Grafana's
manner (the dark theme). Only what our dashboards use is known; anything else is an error, not a blank.

    draw.py BOARDS.json FOLDER    needs matplotlib: run.py starts it with a Python that has it
"""

import json
import math
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.colors as colors  # noqa: E402
import matplotlib.patches as patches  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from PIL import Image  # noqa: E402

WIDTH, DPI = 1600, 100
COLUMNS, ROW, GAP, EDGE, HEAD = 24, 30, 8, 16, 100  # Grafana's grid: a row of 30 px, gaps of 8
PAGE, PANEL, LINE, TEXT, FAINT, GRID = "#111217", "#181b1f", "#2c3036", "#dcdde1", "#9a9ca6", "#2a2d33"
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#c0d8ff", "#96d98d", "#ffb357"]
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "purple": "#b877d9",
         "text": TEXT, "semi-dark-blue": "#3274d9", "light-blue": "#8ab8ff", "dark-green": "#37872d", "light-green": "#96d98d"}
SMALL, NORMAL, TITLE = 10, 11, 12  # points, of 1.39 px; larger than in Grafana, as pages show pictures smaller

plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": TEXT})


# --- numbers for people


def scaled(value, base, units):
    at = 0
    while abs(value) >= base and at < len(units) - 1:
        value, at = value / base, at + 1
    return f"{value:.3g} {units[at]}".rstrip()


def duration(value):
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


UNITS = {
    "short": lambda value: scaled(value, 1000, ["", "K", "Mil", "Bil"]),
    "reqps": lambda value: scaled(value, 1000, ["req/s", "K req/s"]),
    "percentunit": lambda value: f"{100 * value:.3g}%",
    "Bps": lambda value: scaled(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s"]),
    "bytes": lambda value: scaled(value, 1024, ["B", "KiB", "MiB", "GiB"]),
    "s": duration,
}


def ticks(most, unit, whole):
    """From 0 to somewhat more than the most, in steps that are round in the unit."""
    steps = [m * 10.0**e for e in range(-6, 13) for m in (1, 2, 5)]
    if unit == "bytes":
        steps = [2.0**e for e in range(0, 50)]
    elif unit == "s":
        steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 432_000, 864_000]
    if whole:
        steps = [step for step in steps if step >= 1]
    step = next((step for step in steps if most <= 4 * step), steps[-1])
    count = max(1, math.ceil(most / step - 1e-9))
    return [n * step for n in range(count + 1)]


# --- one picture


class Picture:
    def __init__(self, board):
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        self.board, self.height = board, HEAD + rows * (ROW + GAP) - GAP + EDGE
        self.figure = plt.figure(figsize=(WIDTH / DPI, self.height / DPI), dpi=DPI, facecolor=PAGE)
        self.renderer = self.figure.canvas.get_renderer()
        self.head()
        for panel in board["panels"]:
            self.panel(panel)
        self.figure.canvas.draw()

    def axes(self, x, y, w, h, **options):
        """Axes at a place in pixels from the upper left."""
        return self.figure.add_axes((x / WIDTH, 1 - (y + h) / self.height, w / WIDTH, h / self.height), **options)

    def text(self, x, y, text, size=NORMAL, color=TEXT, **options):
        options = {"ha": "left", "va": "center", **options}
        return self.figure.text(x / WIDTH, 1 - y / self.height, text, fontsize=size, color=color, **options)

    def width(self, text):
        return text.get_window_extent(self.renderer).width

    def box(self, x, y, w, h, face, edge=None, round_by=3):
        self.figure.add_artist(patches.FancyBboxPatch(
            (x, self.height - y - h), w, h, boxstyle=f"round,pad=0,rounding_size={round_by}", facecolor=face,
            edgecolor=edge or face, linewidth=0.8, transform=None, zorder=-2))

    def head(self):
        self.text(EDGE, 28, self.board["title"], 17, weight="bold")
        begin, end = (datetime.fromtimestamp(at, UTC) for at in self.board["range"])
        self.text(WIDTH - EDGE, 28, f"{begin:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC", NORMAL, FAINT, ha="right")
        x = EDGE
        for label, value in self.board["shown"]:
            for word, color, face in ((label, FAINT, PANEL), (value, TEXT, PAGE)):
                shown = self.text(x + 10, 72, word, SMALL, color)
                w = self.width(shown) + 20
                self.box(x, 56, w, 32, face, LINE, 2)
                x += w
            x += 12

    def panel(self, panel):
        at = panel["gridPos"]
        column = (WIDTH - 2 * EDGE + GAP) / COLUMNS
        x, y = EDGE + at["x"] * column, HEAD + at["y"] * (ROW + GAP)
        w, h = at["w"] * column - GAP, at["h"] * (ROW + GAP) - GAP
        self.box(x, y, w, h, PANEL, LINE)
        if panel["type"] == "row":
            self.text(x + 8, y + h / 2, panel["title"], TITLE, weight="bold")
            return
        title = self.text(x + 12, y + 20, panel["title"], TITLE, weight="bold")
        if self.width(title) > w - 24:
            raise ValueError(f"{panel['title']!r} is too long for its panel")
        series = [dict(one, color=None) for target in panel["targets"] for one in target["series"] if one["points"]]
        paint(series, panel["fieldConfig"])
        if not series:
            self.text(x + w / 2, y + h / 2, "No data", 12, FAINT, ha="center")
        else:
            {"timeseries": self.timeseries, "stat": self.stat}[panel["type"]](panel, series, x, y, w, h)

    # --- kinds of panels

    def timeseries(self, panel, series, x, y, w, h):
        defaults = panel["fieldConfig"]["defaults"]
        custom, unit = defaults.get("custom", {}), defaults.get("unit", "short")
        rows = self.legend(series, x + 12, y + h - 12, w - 24)
        left, top = 92, 46
        axes = self.axes(x + left, y + top, w - left - 16, h - top - 38 - rows * 24, facecolor="none")
        begin, end = self.board["range"]
        stacked = custom.get("stacking", {}).get("mode") == "normal"
        step = "post" if custom.get("lineInterpolation") == "stepAfter" else None
        grid = [begin + n * self.board["step"] for n in range(int((end - begin) / self.board["step"]) + 1)]
        below, most = [0.0] * len(grid), 0.0
        for one in series:
            found = dict((at, value) for at, value in one["points"])
            values = [found.get(at, math.nan) for at in grid]
            if stacked:
                values = [base + (0 if math.isnan(value) else value) for base, value in zip(below, values)]
            most = max([most, *(value for value in values if not math.isnan(value))])
            opacity = custom.get("fillOpacity", 0) / 100
            if opacity:
                axes.fill_between(grid, below if stacked else 0, values, color=one["color"], alpha=opacity, linewidth=0, step=step)
            axes.plot(grid, values, color=one["color"], linewidth=custom.get("lineWidth", 1) * 0.8, solid_joinstyle="round",
                      drawstyle=f"steps-{step}" if step else "default")
            if stacked:
                below = values
        marks = ticks(most or 1, unit, whole=defaults.get("decimals") == 0)
        axes.set_ylim(0, max(marks[-1], most) * 1.04)
        axes.set_xlim(begin, end)
        axes.set_yticks(marks, [UNITS[unit](mark) for mark in marks])
        every = next(step for step in (15, 30, 60, 120, 300, 600, 1800, 3600) if (end - begin) / step <= 11)
        # A label that would not fit at the edge is left out.
        least, most = begin + (end - begin) * 0.02, end - (end - begin) * 0.03
        times = [at for at in range(math.ceil(least / every) * every, int(most) + 1, every)]
        axes.set_xticks(times, [f"{datetime.fromtimestamp(at, UTC):{'%H:%M:%S' if every < 60 else '%H:%M'}}" for at in times])
        axes.tick_params(length=0, labelsize=SMALL, labelcolor=FAINT, pad=6)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)

    def legend(self, series, x, bottom, w):
        """Names beneath the panel, in as many lines as they need; gives how many."""
        lines, at = [[]], 0.0
        for one in series:
            shown = self.text(0, 0, one["name"], SMALL)
            width = self.width(shown) + 38
            shown.remove()
            if lines[-1] and at + width > w:
                lines.append([])
                at = 0.0
            lines[-1].append((x + at, one))
            at += width
        for number, line in enumerate(reversed(lines)):
            middle = bottom - 4 - number * 24
            for left, one in line:
                self.box(left, middle - 2, 16, 4, one["color"], round_by=1.5)
                self.text(left + 22, middle, one["name"], SMALL, TEXT)
        return len(lines)

    def stat(self, panel, series, x, y, w, h):
        """The last value, and how it came to it."""
        defaults = panel["fieldConfig"]["defaults"]
        one, = series
        value = one["points"][-1][1]
        color, words = judged(value, defaults), mapped(value, defaults)
        if panel["options"].get("graphMode") == "area":
            axes = self.axes(x + 1, y + h * 0.62, w - 2, h * 0.38 - 1, facecolor="none")
            times, values = zip(*one["points"])
            axes.fill_between(times, 0, values, color=color, alpha=0.2, linewidth=0)
            axes.plot(times, values, color=color, linewidth=1)
            axes.set_xlim(*self.board["range"])
            axes.set_ylim(0, max([*values, 1e-9]) * 1.15)
            axes.axis("off")
        self.text(x + w / 2, y + 24 + (h - 24) * 0.4, words or UNITS[defaults.get("unit", "short")](value),
                  18 if words else 24, color, ha="center", weight="bold")


def paint(series, config):
    """Colours in order, unless an override names one; `shades` of one tell series apart that it names together."""
    hits = {}
    for number, one in enumerate(series):
        one["color"] = PALETTE[number % len(PALETTE)]
        for override in config["overrides"]:
            by, wanted = override["matcher"]["id"], override["matcher"]["options"]
            if not (one["name"] == wanted if by == "byName" else re.fullmatch(wanted.strip("/"), one["name"])):
                continue
            for change in override["properties"]:
                value = change["value"]
                one["color"] = NAMED.get(value["fixedColor"], value["fixedColor"])
                if value["mode"] == "shades":
                    hits[wanted] = hits.get(wanted, 0) + 1
                    one["color"] = shade(one["color"], hits[wanted])


def shade(color, number):
    """The colour itself, then lighter and darker ones."""
    toward, share = ((1, 1, 1) if number % 2 == 0 else (0, 0, 0)), min(0.8, number // 2 * 0.4)
    return tuple(part + (end - part) * share for part, end in zip(colors.to_rgb(color), toward))


def judged(value, defaults):
    """The colour of the highest threshold that is reached."""
    steps = defaults["thresholds"]["steps"]
    return NAMED[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]


def mapped(value, defaults):
    for mapping in defaults.get("mappings", []):
        if found := mapping["options"].get(f"{value:g}"):
            return found["text"]
    return None


def main():
    boards, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for name, board in boards.items():
        figure = Picture(board).figure
        # Without transparency, and packed as well as can be: half as large.
        pixels = Image.frombytes("RGBA", figure.canvas.get_width_height(), bytes(figure.canvas.buffer_rgba()))
        pixels.convert("RGB").save(folder / f"{name}.png", optimize=True)
        plt.close(figure)


if __name__ == "__main__":
    main()
