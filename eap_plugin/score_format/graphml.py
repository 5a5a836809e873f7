"""GraphML files, as ``networkx`` writes them."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import ParseError

from eap_plugin.errors import UsageError
from eap_plugin.files import read_text, write_whole
from eap_plugin.lazy import optional
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.networkx_graph import edges_only, graph_losses, inner_edges, to_networkx
from eap_plugin.score_format.table import KEY, contents_of, parse_header


class GraphMl(ScoreFormat):
    """A GraphML file, which Gephi, Cytoscape, yEd and igraph open; ``to_networkx`` says what is in it."""

    name = "graphml"
    summary = "a graph for Gephi, Cytoscape, yEd and igraph (needs networkx)"
    suffixes = (".graphml",)

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + graph_losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        text = read_text(path)
        if "<!" in text or "\0" in text:
            raise UsageError(f"{path} has a document type or entities, which GraphML does not need")
        networkx = optional("networkx", "a GraphML file")
        try:
            found = networkx.parse_graphml(text)
        except ParseError as error:
            raise UsageError(f"{path} is not XML ({error})") from error
        except networkx.NetworkXException as error:
            raise UsageError(f"{path} is not GraphML ({error})") from error
        header = found.graph.get(KEY)
        if not isinstance(header, str):
            raise UsageError(f"{path} was not written by this package: its graph has no attribute {KEY}")
        rows = [(f"{source}->{reader}", None, data.get("score")) for source, reader, data in found.edges(data=True)]
        parsed = parse_header(header, len(rows))
        inner = {f"{source}->{head}" for source, head in inner_edges(parsed.graph, found.nodes)}
        return contents_of(parsed, [row for row in rows if row[0] not in inner], graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        networkx = optional("networkx", "a GraphML file")
        made = to_networkx(edges_only(results))
        write_whole(path, "\n".join(networkx.generate_graphml(made)).encode())
