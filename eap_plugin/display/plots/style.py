"""The look of figures: sizes, fonts and colours, and the styles by which users choose them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.results.visible_text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = "#0072B2", "#D55E00"
"""Blue for positive scores and vermilion for negative ones, which all kinds of colour blindness can tell apart."""

POSITIVE_ON_DARK, NEGATIVE_ON_DARK = "#56B4E9", "#E69F00"
"""The same, lighter, on a dark background."""

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of curves, from the palette of Okabe and Ito (2008), which the colour-blind can tell apart."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Markers of curves, so that curves can be told apart in print without colours, too."""

WIDTHS = ("single", "double")
"""The named widths: that of one column of a page, and that of two."""

LONGEST_NAME = 40
"""The number of characters of a name that are shown at most."""

_COMMON: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
}
_SAFE: dict[str, Any] = {"svg.hashsalt": "eap_plugin", "text.parse_math": False, "text.usetex": False}
_DARK: dict[str, Any] = {
    "axes.edgecolor": "#c8ccd4",
    "axes.facecolor": "#15181e",
    "axes.labelcolor": "#e6e8ec",
    "figure.facecolor": "#15181e",
    "savefig.facecolor": "#15181e",
    "text.color": "#e6e8ec",
    "xtick.color": "#c8ccd4",
    "ytick.color": "#c8ccd4",
}


def _sizes(font: float, line: float) -> dict[str, Any]:
    """Return settings for text of a size in points, with lines of a width in points."""
    return {
        "axes.labelsize": font,
        "axes.linewidth": 0.5 * line,
        "axes.titlesize": font,
        "font.size": font,
        "legend.fontsize": 0.9 * font,
        "lines.linewidth": line,
        "lines.markersize": 3 * line,
        "xtick.labelsize": 0.9 * font,
        "xtick.major.width": 0.5 * line,
        "ytick.labelsize": 0.9 * font,
        "ytick.major.width": 0.5 * line,
    }


@dataclass(frozen=True)
class Style:
    """A built-in style.

    Attributes:
        settings: matplotlib's settings.
        single: the width of one column, in inches.
        double: that of two columns.
    """

    settings: dict[str, Any]
    single: float
    double: float


STYLES = {
    "paper": Style(_sizes(8, 1.2), 3.5, 7.2),
    "talk": Style(_sizes(16, 2.4), 6.5, 12.0),
    "dark": Style(_sizes(8, 1.2) | _DARK, 3.5, 7.2),
}
"""The built-in styles, by name."""


@contextmanager
def styled(style: str | Path, width: str | float) -> Iterator[float]:
    """Apply a style inside the context, and yield the width of a figure in inches.

    Args:
        style: ``paper``, ``talk``, ``dark``, the name of one of matplotlib's styles, or a style file.
        width: ``single`` or ``double`` for one or two columns of a page, or a number of inches.

    Raises:
        UsageError: if there is no such style or width.
        EapPluginError: if matplotlib is not installed.
    """
    matplotlib = require_matplotlib()
    built_in = STYLES.get(str(style))
    base = built_in or STYLES["paper"]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_COMMON | base.settings)
        if built_in is None:
            _apply(style)
        matplotlib.rcParams.update(_SAFE)
        yield _inches(width, base)


def require_matplotlib() -> Any:
    """Import matplotlib.

    Raises:
        EapPluginError: if it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise EapPluginError(
            "figures need matplotlib, which is not installed; install it with: pip install 'eap-plugin[plot]'"
        ) from error
    return matplotlib


def _apply(style: str | Path) -> None:
    from matplotlib import style as styles

    try:
        styles.use(style)
    except OSError as error:
        raise UsageError(
            f"unknown style {str(style)!r}; give {', '.join(STYLES)}, the name of one of matplotlib's styles, or the "
            f"path of a style file"
        ) from error


def _inches(width: str | float, style: Style) -> float:
    if width in WIDTHS:
        return style.single if width == "single" else style.double
    try:
        inches = float(width)
    except ValueError:
        inches = 0.0
    if not 1 <= inches <= 40:
        raise UsageError(f"the width of a figure is {', '.join(WIDTHS)} or 1 to 40 inches; got {str(width)!r}")
    return inches


def is_dark() -> bool:
    """Return whether the style that applies has a dark background."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    return sum(to_rgb(rcParams["axes.facecolor"])) < 1.5


def sign_colors() -> tuple[str, str]:
    """Return the colours of positive and of negative scores in the style that applies."""
    return (POSITIVE_ON_DARK, NEGATIVE_ON_DARK) if is_dark() else (POSITIVE, NEGATIVE)


def label(name: object) -> str:
    """Return a name from a file as a label: one line without control characters, shortened in the middle."""
    text = visible(" ".join(str(name).split()))
    half = (LONGEST_NAME - 1) // 2
    return text if len(text) <= LONGEST_NAME else f"{text[:half]}…{text[-half:]}"


def finished(figure: Figure) -> Figure:
    """Return a figure none of whose text is read as mathematics, whatever names contain, when it is drawn later."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
    return figure
