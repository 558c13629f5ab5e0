"""pymongo with its default settings against a running cluster: python pymongo_daily.py URI.

Does every operation that Collection Store offers once and compares what comes back. Prints one line a part; ends with
`N passed, 0 failed`, or with the traceback of the first difference.
"""

import datetime
import sys

import bson
import pymongo
from pymongo import ReturnDocument, ReadPreference
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

PARTS = []


def part(function):
    PARTS.append(function)
    return function


def ids(cursor):
    return [document["_id"] for document in cursor]


@part
def topology(client, things):
    client.admin.command("ping")
    assert client.primary is not None
    hello = client.admin.command("hello")
    assert hello["setName"] == "cstore" and hello["isWritablePrimary"], hello
    assert len(hello["hosts"]) == len(client.nodes | {client.primary}), hello
    assert client.server_info()["versionArray"][0] >= 8


@part
def insert(client, things):
    result = things.insert_many([{"_id": n, "n": n, "tags": ["all", f"t{n % 3}"], "at": {"x": n % 10}} for n in range(300)])
    assert len(result.inserted_ids) == 300
    every = {
        "_id": "every", "double": 1.5, "string": "ü€𝄞", "object": {"a": {"b": 1}}, "array": [1, "two", None],
        "binary": b"\x00\xff", "oid": bson.ObjectId(), "bool": True, "null": None, "int64": bson.Int64(2**40),
        "date": datetime.datetime(2026, 11, 23, 12, 0, 0, 123000), "regex": bson.Regex("^a", "i"),
        "decimal": bson.Decimal128("1.10"), "min": bson.MinKey(), "max": bson.MaxKey(), "ts": bson.Timestamp(5, 6),
        "code": bson.Code("f()"),
    }
    things.insert_one(every)
    assert things.find_one({"_id": "every"}) == every
    things.delete_one({"_id": "every"})
    assert isinstance(things.insert_one({"own": 1}).inserted_id, bson.ObjectId)
    things.delete_many({"own": 1})


@part
def duplicates(client, things):
    try:
        things.insert_one({"_id": 1})
        raise AssertionError("a duplicate was taken")
    except DuplicateKeyError as error:
        assert error.code == 11000 and error.details["keyPattern"] == {"_id": 1}, error.details
    try:
        things.insert_many([{"_id": 1000}, {"_id": 1}, {"_id": 1001}], ordered=False)
        raise AssertionError("a duplicate was taken")
    except BulkWriteError as error:
        assert error.details["nInserted"] == 2 and error.details["writeErrors"][0]["index"] == 1, error.details
    assert things.delete_many({"_id": {"$gte": 1000}}).deleted_count == 2


@part
def filters(client, things):
    for query, expected in [
        ({"n": {"$gt": 297}}, [298, 299]),
        ({"n": {"$gte": 1, "$lt": 3}}, [1, 2]),
        ({"n": {"$in": [5, 7, 2**40]}}, [5, 7]),
        ({"$or": [{"n": 3}, {"n": 4.0}]}, [3, 4]),
        ({"$nor": [{"n": {"$gt": 1}}]}, [0, 1]),
        ({"n": {"$not": {"$gt": 0}}}, [0]),
        ({"tags": "t1", "n": {"$lt": 6}}, [1, 4]),
        ({"tags.1": "t2", "n": {"$lt": 6}}, [2, 5]),
        ({"at.x": 9, "n": {"$nin": list(range(20, 300))}}, [9, 19]),
        ({"at": {"x": 8}, "n": {"$lt": 10}}, [8]),
        ({"tags": {"$regex": "^T0", "$options": "i"}, "n": {"$lte": 3}}, [0, 3]),
        ({"nothing": None, "n": {"$lt": 2}}, [0, 1]),
        ({"nothing": {"$exists": True}}, []),
        ({"n": bson.Decimal128("42")}, [42]),
        ({"n": "42"}, []),
    ]:
        assert ids(things.find(query).sort("_id", 1)) == expected, query


@part
def cursors(client, things):
    assert len(list(things.find(batch_size=7))) == 300
    assert ids(things.find().sort([("at.x", -1), ("n", -1)]).skip(1).limit(2)) == [289, 279]
    assert things.find_one({"_id": 3}, {"tags": 0, "at": 0}) == {"_id": 3, "n": 3}
    assert things.find_one({"_id": 3}, {"at.x": 1, "_id": 0}) == {"at": {"x": 3}}
    cursor = things.find(batch_size=2)
    next(cursor)
    cursor.close()
    assert things.count_documents({"at.x": 1}) == 30
    assert things.estimated_document_count() == 300
    assert sorted(things.distinct("tags")) == ["all", "t0", "t1", "t2"]


@part
def updates(client, things):
    result = things.update_one({"_id": 1}, {"$set": {"a.b": 1}, "$inc": {"n": 10}, "$push": {"tags": "x"}, "$unset": {"at": 1}})
    assert (result.matched_count, result.modified_count) == (1, 1)
    assert things.find_one({"_id": 1}) == {"_id": 1, "n": 11, "tags": ["all", "t1", "x"], "a": {"b": 1}}
    assert things.update_one({"_id": 1}, {"$set": {"n": 11}}).modified_count == 0
    things.update_one({"_id": 1}, {"$push": {"tags": {"$each": ["y", "z"]}}, "$min": {"n": 3}, "$max": {"a.b": 9}})
    things.update_one({"_id": 1}, {"$pull": {"tags": {"$in": ["x", "y"]}}})
    things.update_one({"_id": 1}, {"$addToSet": {"tags": "z"}})
    assert things.find_one({"_id": 1}) == {"_id": 1, "n": 3, "tags": ["all", "t1", "z"], "a": {"b": 9}}
    things.update_one({"_id": 1}, {"$set": {"n": 1}})
    assert things.update_many({"n": {"$gte": 200}}, {"$set": {"late": True}}).modified_count == 100
    upsert = things.update_one({"_id": 500, "kind": "k"}, {"$setOnInsert": {"first": 1}, "$inc": {"n": 2}}, upsert=True)
    assert upsert.upserted_id == 500
    assert things.find_one({"_id": 500}) == {"_id": 500, "kind": "k", "first": 1, "n": 2}
    assert things.replace_one({"_id": 500}, {"r": 1}).modified_count == 1
    assert things.find_one_and_update({"_id": 500}, {"$inc": {"r": 1}}, return_document=ReturnDocument.AFTER) == {"_id": 500, "r": 2}
    assert things.find_one_and_replace({"_id": 500}, {"s": 1}) == {"_id": 500, "r": 2}
    assert things.find_one_and_delete({"s": 1}) == {"_id": 500, "s": 1}
    assert things.find_one_and_delete({"s": 1}) is None
    bulk = things.bulk_write([
        pymongo.InsertOne({"_id": 600}), pymongo.UpdateOne({"_id": 600}, {"$set": {"n": 1}}),
        pymongo.UpdateOne({"_id": 601}, {"$set": {"n": 1}}, upsert=True), pymongo.DeleteMany({"_id": {"$gte": 600}}),
    ])
    assert (bulk.inserted_count, bulk.upserted_count, bulk.deleted_count) == (1, 1, 2), bulk.bulk_api_result


@part
def positional(client, things):
    things.insert_one({"_id": 900, "g": [{"k": 1, "v": 1}, {"k": 2, "v": 2}, {"k": 3, "v": 3}]})
    things.update_one({"_id": 900, "g.k": 2}, {"$set": {"g.$.v": 20}})
    things.update_one({"_id": 900}, {"$inc": {"g.$[].v": 1}})
    things.update_one({"_id": 900}, {"$set": {"g.$[big].v": 0}}, array_filters=[{"big.k": {"$gte": 3}}])
    assert [m["v"] for m in things.find_one({"_id": 900})["g"]] == [2, 21, 0]
    things.delete_one({"_id": 900})


@part
def indexes(client, things):
    assert things.create_index([("at.x", 1), ("n", -1)]) == "at.x_1_n_-1"
    assert things.create_index([("at.x", 1), ("n", -1)]) == "at.x_1_n_-1"
    things.create_index("n", unique=True)
    assert set(things.index_information()) == {"_id_", "at.x_1_n_-1", "n_1"}
    plan = str(things.find({"at.x": 4, "n": {"$gt": 100}}).explain())
    assert "IXSCAN" in plan and "at.x_1_n_-1" in plan, plan
    assert ids(things.find({"at.x": 4, "n": {"$gt": 270}})) == [294, 284, 274]
    try:
        things.insert_one({"_id": 700, "n": 5.0})
        raise AssertionError("a duplicate was taken")
    except DuplicateKeyError as error:
        assert error.details["keyPattern"] == {"n": 1} and "n_1" in str(error), error.details
    things.drop_index("n_1")
    assert set(things.index_information()) == {"_id_", "at.x_1_n_-1"}


@part
def aggregate(client, things):
    rows = list(things.aggregate([
        {"$match": {"n": {"$lt": 50}}}, {"$group": {"_id": "$at.x", "n": {"$sum": 1}, "avg": {"$avg": "$n"}, "max": {"$max": "$n"}}},
        {"$sort": {"_id": 1}}, {"$match": {"_id": 7}}, {"$project": {"_id": 0}},
    ]))
    assert rows == [{"n": 5, "avg": 27.0, "max": 47}], rows
    assert list(things.aggregate([{"$count": "all"}])) == [{"all": 300}]


@part
def several_collections_in_one_bulk(client, things):
    other = things.database.other
    result = client.bulk_write([
        pymongo.InsertOne(namespace=other.full_name, document={"_id": 1, "n": 1}),
        pymongo.UpdateOne(namespace=other.full_name, filter={"_id": 1}, update={"$inc": {"n": 1}}),
        pymongo.UpdateOne(namespace=other.full_name, filter={"_id": 2}, update={"$set": {"n": 9}}, upsert=True),
        pymongo.DeleteOne(namespace=things.full_name, filter={"_id": "nobody"}),
    ], verbose_results=True)
    assert (result.inserted_count, result.matched_count, result.upserted_count, result.deleted_count) == (1, 1, 1, 0), result
    assert result.update_results[2].upserted_id == 2, result.update_results
    assert list(other.find(sort=[("_id", 1)])) == [{"_id": 1, "n": 2}, {"_id": 2, "n": 9}]
    try:
        client.bulk_write([pymongo.InsertOne(namespace=other.full_name, document={"_id": 1})] * 2, ordered=False)
        raise AssertionError("duplicates were taken")
    except pymongo.errors.ClientBulkWriteException as error:
        assert [each["code"] for each in error.write_errors] == [11000, 11000], error.write_errors
    other.drop()


@part
def validators_and_views(client, things):
    database = things.database
    people = database.create_collection("people", validator={"$jsonSchema": {"required": ["age"], "properties": {"age": {"bsonType": "int"}}}})
    people.insert_many([{"_id": 1, "age": 17}, {"_id": 2, "age": 40}])
    try:
        people.insert_one({"_id": 3, "age": "old"})
        raise AssertionError("an invalid document was taken")
    except pymongo.errors.WriteError as error:
        assert error.code == 121 and error.details["errInfo"]["failingDocumentId"] == 3, error.details
    people.with_options().insert_one({"_id": 3, "age": "old"}, bypass_document_validation=True)
    adults = database.create_collection("adults", viewOn="people", pipeline=[{"$match": {"age": {"$gte": 18}}}])
    assert ids(adults.find()) == [2] and adults.count_documents({}) == 1 and adults.distinct("age") == [40]
    people.aggregate([{"$match": {"_id": {"$lt": 3}}}, {"$merge": "copies"}])
    people.aggregate([{"$group": {"_id": None, "n": {"$sum": 1}}}, {"$out": "counts"}])
    assert database.copies.count_documents({}) == 2 and database.counts.find_one() == {"_id": None, "n": 3}
    for name in ("adults", "people", "copies", "counts"):
        database.drop_collection(name)


@part
def refusals(client, things):
    def code(call):
        try:
            call()
        except OperationFailure as error:
            return error.code
        raise AssertionError("nothing was refused")

    assert code(lambda: list(things.find({"a": {"$almost": 1}}))) == 2
    assert code(lambda: list(things.aggregate([{"$juggle": 1}]))) == 40324
    assert code(lambda: client.admin.command("frobnicate")) == 59
    assert code(lambda: things.update_one({"_id": 2}, {"$frob": {"a": 1}})) == 9
    assert code(lambda: things.update_one({"_id": 2}, {"$set": {"a": 1, "a.b": 2}})) == 40
    assert code(lambda: things.update_one({"_id": 2}, {"$inc": {"tags": 1}})) == 14
    assert code(lambda: things.update_one({"_id": 2}, {"$set": {"_id": 3}})) == 66
    assert code(lambda: things.drop_index("nope")) == 27


@part
def followers(client, things):
    secondary = things.with_options(read_preference=ReadPreference.SECONDARY, read_concern=ReadConcern("majority"))
    things.insert_one({"_id": 800})
    assert secondary.find_one({"_id": 800}) == {"_id": 800}
    things.delete_one({"_id": 800})
    assert things.with_options(read_concern=ReadConcern("linearizable")).find_one({"_id": 5})["n"] == 5


@part
def administration(client, things):
    assert "daily" in client.list_database_names()
    assert client.daily.list_collection_names() == ["things"]
    client.daily.create_collection("made")
    assert sorted(client.daily.list_collection_names()) == ["made", "things"]
    client.daily.drop_collection("made")
    assert client.daily.command("dbStats")["objects"] == 300
    assert client.daily.command("collStats", "things")["count"] == 300
    status = client.admin.command("replSetGetStatus")
    assert sorted(m["stateStr"] for m in status["members"])[0] == "PRIMARY", status
    assert client.admin.command("serverStatus")["ok"] == 1


def main():
    client = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=20000)
    client.drop_database("daily")
    for function in PARTS:
        function(client, client.daily.things)
        print("ok", function.__name__)
    client.drop_database("daily")
    assert "daily" not in client.list_database_names()
    print(f"{len(PARTS)} passed, 0 failed")


if __name__ == "__main__":
    main()
