"""A figure that notebooks display without pyplot. Imported only where figures are drawn, as it needs matplotlib."""

from __future__ import annotations

import io

from matplotlib import figure

NOTEBOOK_DPI = 160
"""The resolution at which notebooks display figures, in dots per inch."""


class Figure(figure.Figure):
    """A figure that displays itself in notebooks."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=NOTEBOOK_DPI)
        return buffer.getvalue()
