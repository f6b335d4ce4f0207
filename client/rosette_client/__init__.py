"""A client of Rosette: patches in, recorded answers out."""

from rosette_client.answers import Answer, Consistency, Decision, Label, Model, Page, Quality, Reason
from rosette_client.asynchronous import AsyncClient
from rosette_client.images import Image
from rosette_client.problems import Problem, ProblemError, RosetteError, Unreachable
from rosette_client.requests import Occlusion, Progress, Result, Rotations, Shifts
from rosette_client.synchronous import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "Consistency",
    "Decision",
    "Image",
    "Label",
    "Model",
    "Occlusion",
    "Page",
    "Problem",
    "ProblemError",
    "Progress",
    "Quality",
    "Reason",
    "Result",
    "RosetteError",
    "Rotations",
    "Shifts",
    "Unreachable",
]
