"""Pictures of graphs: as SVG and as Mermaid's text without any other package, as what Graphviz draws with it.

Only what graphs inherit is here, so that a graph that is never drawn loads none of the rest.
"""

from __future__ import annotations

import os
from typing import Any


class Plotted:
    """For graphs: `plot`, and what a notebook shows."""

    def plot(
        self,
        filename: str | os.PathLike[str] | None = None,
        format: str | None = None,  # noqa: A002  # the name is MLRun's
        source: Any = None,
        targets: Any = None,
        **attributes: Any,
    ) -> Any:
        """Draw the graph.

        Parameters
        ----------
        filename : str or path, optional
            Where to write the picture; its suffix says the format, unless `format` does.
        format : str, optional
            "svg", "mermaid" ("mmd") or "dot", which need nothing; "png", "pdf" and others, which Graphviz draws.
        source : str or object with a name, optional
            What to show ahead of the first steps.
        targets : list of str or of objects with a name, optional
            What to show behind the last steps.
        **attributes
            Graphviz' attributes of the graph; ``rankdir="LR"`` counts in every format.

        Returns
        -------
        graphviz.Digraph or Drawing
            A Digraph for what Graphviz draws, and without filename and format where it is installed. A notebook
            shows either.

        Raises
        ------
        GraphError
            There is no such format.
        MissingExtra
            The format needs Graphviz, which is not there.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep()
        >>> _ = graph.to("(event + 1)", name="add").respond()
        >>> print(graph.plot(format="mermaid"), end="")
        flowchart TB
          n0(["start"])
          n1[["add<br/>(event + 1)"]]
          n0 --> n1
        """
        from penstock.plotting.draw import plot

        return plot(self, filename, format, source, targets, **attributes)

    def _repr_svg_(self) -> str:
        from penstock.plotting.draw import plot

        return str(plot(self, format="svg"))

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self._repr_svg_()}</div>'
