# expect: LOCK_ABANDONED
# names: edit-2, ada|bob
# line: 20|35|36|40
# when: hang
# Locks come from a table with a lock for each document and are taken and given back by hand; the
# editor of one document died between the two.
import asyncio
import collections


class Documents:
    def __init__(self):
        self.texts = collections.defaultdict(str)
        self._locks = {}

    def lock_of(self, name):
        return self._locks.setdefault(name, asyncio.Lock())

    async def check_out(self, name):
        await self.lock_of(name).acquire()
        await asyncio.sleep(0.01)
        return self.texts[name]

    async def check_in(self, name, text):
        await asyncio.sleep(0.01)
        self.texts[name] = text
        self.lock_of(name).release()


class Editor:
    def __init__(self, documents):
        self.documents = documents

    async def replace_line(self, name, number, line):
        lines = (await self.documents.check_out(name)).split("\n")
        lines[number] = line
        await self.documents.check_in(name, "\n".join(lines))

    async def append(self, name, line):
        text = await self.documents.check_out(name)
        await self.documents.check_in(name, f"{text}\n{line}")


async def autosave(documents, copies):
    while True:
        await asyncio.sleep(0.2)
        copies.append(len(documents.texts))


async def main():
    documents = Documents()
    editor = Editor(documents)
    saving = asyncio.create_task(autosave(documents, []), name="autosave")
    edits = [editor.append("plan", "one"), editor.append("notes", "two")]
    edits += [editor.replace_line("plan", 7, "seven"), editor.replace_line("notes", 0, "zero")]
    tasks = [asyncio.create_task(edit, name=f"edit-{n}") for n, edit in enumerate(edits)]
    await asyncio.sleep(0.2)
    tasks.append(asyncio.create_task(editor.append("plan", "ada's"), name="ada"))
    tasks.append(asyncio.create_task(editor.append("plan", "bob's"), name="bob"))
    print(await asyncio.gather(*tasks, return_exceptions=True))
    saving.cancel()


if __name__ == "__main__":
    asyncio.run(main())
