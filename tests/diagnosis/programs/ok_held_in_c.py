# expect: OK
# Only memory of C refers to the future, as with a request that a library in C keeps: it may yet be resolved.
import asyncio
import ctypes


async def fetch():
    answer = asyncio.get_running_loop().create_future()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(answer))
    await answer


async def main():
    await asyncio.gather(fetch(), fetch())


if __name__ == "__main__":
    asyncio.run(main())
