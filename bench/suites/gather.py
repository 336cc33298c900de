"""The small calls: gather and race, and one call of four jobs, as ratios to what asyncio has for it."""

from bench import ours
from bench.contender import Contender
from bench.figure import Figure
from bench.load import Load, sleep0
from bench.peers.gathering import BARE_GATHER
from bench.peers.racing import WAIT, contestant
from bench.plan import Plan, repeats
from bench.suites.timed import ratios

SUITE = "gather"
SIZES = (4, 1_000, 10_000)
CONTESTANTS = 4


def measure(plan: Plan) -> list[Figure]:
    """Time gather at every size, and a race."""
    gathers: list[Contender] = []
    with_debug: list[Contender] = []
    races: list[Contender] = []
    if ours.installed():
        from bench.ours import calls

        gathers, with_debug, races = [calls.GATHER], [calls.RUN_JOBS_DEBUG, calls.GATHER_DEBUG], [calls.RACE]
    figures = []
    for size in SIZES:
        figures += ratios(
            SUITE,
            "jobs that suspend once, to asyncio.gather",
            f"{size:,}",
            BARE_GATHER,
            [*gathers, *(with_debug if size == SIZES[0] else [])],
            Load(sleep0, size, size, repeat=repeats(size)),
            rounds=plan.rounds,
            judged=True,
        )
    figures += ratios(
        SUITE,
        "a winner that suspends once and three that wait for ever, to asyncio.wait",
        f"race of {CONTESTANTS}",
        WAIT,
        races,
        Load(contestant, CONTESTANTS, CONTESTANTS, repeat=repeats(CONTESTANTS), expected=(0,)),
        rounds=plan.rounds,
        judged=True,
    )
    return figures
