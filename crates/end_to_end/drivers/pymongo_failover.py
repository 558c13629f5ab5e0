"""Sixteen pymongo writers with default settings while leader after leader is killed -9 (`cstore dev --restart` brings them back).

python pymongo_failover.py URI [KILLS]. No error may reach a writer, nothing acknowledged may be missing, no increment lost or
doubled. Prints the times from kill to next acknowledged write; ends with `N passed, 0 failed`.
"""

import os
import signal
import sys
import threading
import time

import pymongo

WRITERS = 16
PATIENCE_S = 60


def leader_pid(client):
    members = client.admin.command("cstoreStatus")["members"]
    return next(member["pid"] for member in members if member["role"] == "leader")


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.001)


class Writer(threading.Thread):
    def __init__(self, number, database):
        super().__init__(daemon=True)
        self.number, self.database = number, database
        self.inserted, self.increments, self.error = [], 0, None
        self.last = (0.0, 0.0)  # when the last increment began and was acknowledged
        self.stopping = False

    def run(self):
        try:
            self.database.counters.insert_one({"_id": self.number, "n": 0})
            while not self.stopping:
                key = f"{self.number}-{len(self.inserted)}"
                self.database.inserts.insert_one({"_id": key})
                self.inserted.append(key)
                began = time.monotonic()
                result = self.database.counters.update_one({"_id": self.number}, {"$inc": {"n": 1}})
                assert result.modified_count == 1, result.raw_result
                self.increments += 1
                self.last = (began, time.monotonic())
        except Exception as error:  # whatever it is, it reached the application
            self.error = error


def main():
    uri, kills = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    client = pymongo.MongoClient(uri)
    client.drop_database("failover")
    writers = [Writer(number, client.failover) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    done = lambda: sum(writer.increments for writer in writers)
    wait_for("the first writes", lambda: done() > 100)
    gaps = []
    for _ in range(kills):
        pid, start = leader_pid(client), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        after = lambda: [ended for began, ended in (writer.last for writer in writers) if began > start]
        wait_for("a write after the kill", lambda: after() or any(writer.error for writer in writers))
        gaps.append(min(after(), default=start + PATIENCE_S) - start)
        before = done()
        wait_for("writes go on", lambda: done() > before + 200)
        reachable = lambda: all(member["reachable"] for member in client.admin.command("cstoreStatus")["members"])
        wait_for("the killed member is back", reachable)
    for writer in writers:
        writer.stopping = True
    for writer in writers:
        writer.join(PATIENCE_S)
    errors = [writer.error for writer in writers if writer.error]
    assert not errors, errors
    found = {document["_id"] for document in client.failover.inserts.find()}
    acknowledged = {key for writer in writers for key in writer.inserted}
    assert found == acknowledged, (sorted(acknowledged - found)[:5], sorted(found - acknowledged)[:5])
    counters = {document["_id"]: document["n"] for document in client.failover.counters.find()}
    assert counters == {writer.number: writer.increments for writer in writers}
    milliseconds = sorted(round(gap * 1000) for gap in gaps)
    print(f"{len(found)} inserts and {done()} increments through {kills} kills; kill to next acknowledged write, ms: {milliseconds}")
    client.drop_database("failover")
    print("3 passed, 0 failed")


if __name__ == "__main__":
    main()
