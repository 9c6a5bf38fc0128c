"""Finds circles in a graph of files."""

from __future__ import annotations

from collections.abc import Mapping


def in_circles(graph: Mapping[str, set[str]]) -> set[str]:
    """The nodes of ``graph`` that are in a circle or lead into one. An edge from a node to itself does not count."""
    rest = {name: edges.intersection(graph) - {name} for name, edges in graph.items()}
    while leaves := [name for name, edges in rest.items() if not edges]:
        rest = {name: edges.difference(leaves) for name, edges in rest.items() if name not in leaves}
    return set(rest)
