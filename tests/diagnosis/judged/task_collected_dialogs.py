# expect: TASK_COLLECTED
# names: converse|dialog
# line: 30|37
# when: end
# Dialogs are started and forgotten; each waits for the answer of a form that only it knows, and is
# gone with the next collection, which comes by itself when enough was allocated.
import asyncio
import weakref


class Form:
    def __init__(self, question):
        self.question = question
        self.answered = asyncio.Event()
        self.text = ""

    def submit(self, text):
        self.text = text
        self.answered.set()


class Bot:
    def __init__(self):
        self.forms = weakref.WeakValueDictionary()
        self.started = 0
        self.answers = []

    def greet(self, user):
        self.started += 1
        asyncio.create_task(self.converse(user), name=f"dialog-{user}")

    async def converse(self, user):
        form = Form(f"How are you, {user}?")
        form.owner = form
        self.forms[user] = form
        await asyncio.sleep(0.02)
        await form.answered.wait()
        self.answers.append(form.text)


class Index:
    def __init__(self):
        self.words = {}

    def add(self, number):
        for word in range(40):
            self.words.setdefault(f"word{word}", []).append({"document": number, "at": [word]})


async def main():
    bot, index = Bot(), Index()
    for number in range(2_000):
        if number % 40 == 0:
            bot.greet(f"user{number}")
        index.add(number)
        await asyncio.sleep(0.01)
    print(bot.started, len(bot.forms), len(bot.answers))


if __name__ == "__main__":
    asyncio.run(main())
