"""People's verdicts on the regions of a run, beside the machine's."""

from __future__ import annotations

from pathlib import Path

from app.access.caller import Caller
from app.problems import UnknownPart, UnknownRun
from app.records.region_reviews import RegionReview, RegionReviews
from app.records.verdicts import Verdict
from app.slides.region_files import regions_of
from app.slides.service import SlideService


class RegionJudging:
    """Stores and lists verdicts. Every method blocks, and raises RecordsUnavailable when the database fails.

    Args:
        slides: has the runs and their files.
        reviews: the rows.
    """

    def __init__(self, slides: SlideService, reviews: RegionReviews) -> None:
        self._slides = slides
        self._reviews = reviews

    def add(self, run_id: str, region: int, verdict: Verdict, note: str, caller: Caller) -> RegionReview:
        """Store a verdict.

        Raises:
            UnknownRun: if there is no such run, or its files are on another server.
            RunState: if the run is not complete.
            UnknownPart: if it has no such region.
        """
        largest = _largest(self._slides.product(run_id, caller, "regions.geojson"))
        if not 1 <= region <= len(largest):
            numbered = f"its regions are numbered from 1 to {len(largest)}" if largest else "it has none"
            raise UnknownPart(f"The run has no region {region}: {numbered}.")
        review = self._reviews.add(run_id, region, largest[region - 1], verdict, note, caller.actor)
        if review is None:
            raise UnknownRun(f"There is no run {run_id} any more.")
        return review

    def of(self, run_id: str, caller: Caller) -> list[RegionReview]:
        """The verdicts on a run's regions, oldest first.

        Raises:
            UnknownRun: if there is no such run.
        """
        return self._reviews.of(self._slides.run(run_id, caller).id)


def _largest(file: Path) -> list[float]:
    """The largest probability of each region, by its number."""
    try:
        return [region.largest for region in regions_of(file)]
    except ValueError as error:
        raise UnknownRun("The files of this run are damaged or gone: score the slide again.") from error
