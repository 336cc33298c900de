# expect: OK
# What sets the event lies in a module, and in one of a package, that a function imports when it runs.
import asyncio
import sys
import types


def module(name):
    made = sys.modules[name] = types.ModuleType(name)
    made.__file__ = __file__
    made.ready = asyncio.Event()


module("late")
module("late_package.state")
__package__ = "late_package"


def absolute():
    import late

    late.ready.set()


def relative():
    from . import state  # noqa: TID252 -- as a program may

    state.ready.set()


async def later(function):
    await asyncio.sleep(30)
    function()


async def one():
    await sys.modules["late"].ready.wait()


async def other():
    await sys.modules["late_package.state"].ready.wait()


async def main():
    tasks = [asyncio.create_task(later(absolute)), asyncio.create_task(later(relative))]
    await asyncio.gather(one(), other(), *tasks)
