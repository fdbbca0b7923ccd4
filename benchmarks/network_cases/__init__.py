"""What ``benchmarks.networks`` times: a case for each network, registered here by its module's ``CASES``."""

from __future__ import annotations

from benchmarks.network_cases import conv_lstms, memory_and_relations
from benchmarks.network_cases.case import Case

CASES: tuple[Case, ...] = (*conv_lstms.CASES, *memory_and_relations.CASES)
