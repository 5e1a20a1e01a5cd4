"""A simulator of the assistants and responses endpoints, for tests and demonstrations.

It behaves by seed, by scenario file and by magic model names (``CATALOGUE``), makes every
mistake that a network and a provider can make, and tells afterwards what it really did.
"""

from __future__ import annotations

from .behaviours import CATALOGUE
from .endpoints import NewEndpoint
from .running import Simulator, serve
from .scenario import Scenario, ScenarioError, load_scenario

__all__ = [
    "CATALOGUE",
    "NewEndpoint",
    "Scenario",
    "ScenarioError",
    "Simulator",
    "load_scenario",
    "serve",
]
