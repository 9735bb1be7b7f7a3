"""What run.json says of the cells that were asked for, so that a report knows them before they have rows, and draws a
sampler whose plugin is not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import contained
from ..sampler import Sampler
from .plan import Planned

__all__ = ["asked_for"]


def asked_for(cells: Iterable[Planned]) -> list[dict[str, Any]]:
    """An entry a sampler and guidance of the plan, in its order: sampler, spacing, final, guidance ('' for none), the
    order of convergence that it claims (null where it claims none), whether it is stochastic, and `values`, the
    budgets, or steps, of its cells.

    Of a sampler whose properties raise, order and stochastic are left out.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in cells:
        guidance = one.cell.guidance[0] if one.cell.guidance else ""
        known = found.get((one.cell.sampler, guidance))
        if known is None:
            plain = {"sampler": one.cell.sampler, "spacing": one.sampler.spacing, "final": one.sampler.final}
            known = found[one.cell.sampler, guidance] = {
                **plain, "guidance": guidance, **_traits(one.sampler), "values": []
            }  # fmt: skip
        known["values"].append(one.cell.value)
    return list(found.values())


def _traits(sampler: Sampler) -> dict[str, Any]:
    try:
        with contained(sampler.name):
            order = sampler.global_order
            return {"order": None if order is None else float(order), "stochastic": bool(sampler.stochastic)}
    except Exception:  # of a plugin's making: its cells will say so
        return {}
