"""DynamoDB: what the product's correctness rests on - conditions, transactions, queries and consistent reads."""

from harness import Check, client, unique


def item(pk, sk, **more):
    values = {"pk": {"S": pk}, "sk": {"S": sk}}
    for name, value in more.items():
        values[name] = {"N": str(value)} if isinstance(value, int) else {"S": value}
    return values


class DynamoDb(Check):
    service = "dynamodb"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.table = unique("contract")
        cls.aws.create_table(
            TableName=cls.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "who")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[{
                "IndexName": "by-who",
                "KeySchema": [{"AttributeName": "who", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }],
        )
        cls.aws.get_waiter("table_exists").wait(TableName=cls.table, WaiterConfig={"Delay": 1, "MaxAttempts": 10})

    @classmethod
    def tearDownClass(cls):
        cls.aws.delete_table(TableName=cls.table)

    def setUp(self):
        super().setUp()
        self.pk = unique("p")

    def put(self, sk, **more):
        return self.aws.put_item(TableName=self.table, Item=item(self.pk, sk, **more))

    def get(self, sk):
        answer = self.aws.get_item(TableName=self.table, Key=item(self.pk, sk), ConsistentRead=True)
        return answer.get("Item")

    def query(self, **more):
        parameters = {
            "TableName": self.table,
            "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": {":p": {"S": self.pk}},
        }
        values = {**parameters["ExpressionAttributeValues"], **more.pop("values", {})}
        return self.aws.query(**{**parameters, **more, "ExpressionAttributeValues": values})

    def fill(self, n):
        for i in range(n):
            self.put(f"k{i:02}", n=i, who=self.pk)

    def test_create_only_put_refuses_the_second(self):
        put = {"TableName": self.table, "ConditionExpression": "attribute_not_exists(pk)"}
        self.aws.put_item(**put, Item=item(self.pk, "a", v=1))
        error = self.refused("ConditionalCheckFailedException", self.aws.put_item, status=400, **put,
                             Item=item(self.pk, "a", v=2), ReturnValuesOnConditionCheckFailure="ALL_OLD")
        self.assertEqual(error["Item"]["v"], {"N": "1"})
        self.assertEqual(self.get("a")["v"], {"N": "1"})

    def test_update_by_version_refuses_a_stale_writer(self):
        self.put("a", version=1)
        update = {
            "TableName": self.table, "Key": item(self.pk, "a"),
            "UpdateExpression": "SET version = version + :one", "ConditionExpression": "version = :seen",
            "ExpressionAttributeValues": {":one": {"N": "1"}, ":seen": {"N": "1"}}, "ReturnValues": "ALL_NEW",
        }
        self.assertEqual(self.aws.update_item(**update)["Attributes"]["version"], {"N": "2"})
        self.refused("ConditionalCheckFailedException", self.aws.update_item, **update)

    def test_update_sets_removes_and_adds(self):
        self.put("a", gone="x", n=1)
        answer = self.aws.update_item(
            TableName=self.table, Key=item(self.pk, "a"), ReturnValues="ALL_NEW",
            UpdateExpression="SET #l = list_append(if_not_exists(#l, :empty), :one) REMOVE gone ADD n :two, s :set",
            ExpressionAttributeNames={"#l": "list"},
            ExpressionAttributeValues={":empty": {"L": []}, ":one": {"L": [{"S": "x"}]}, ":two": {"N": "2"}, ":set": {"SS": ["a"]}},
        )["Attributes"]
        self.assertEqual(answer, {**item(self.pk, "a", n=3), "list": {"L": [{"S": "x"}]}, "s": {"SS": ["a"]}})

    def test_conditional_delete_leaves_what_does_not_match(self):
        self.put("a", v=1)
        delete = {"TableName": self.table, "Key": item(self.pk, "a"), "ConditionExpression": "v = :v"}
        self.refused("ConditionalCheckFailedException", self.aws.delete_item, **delete,
                     ExpressionAttributeValues={":v": {"N": "2"}})
        self.assertIsNotNone(self.get("a"))
        self.aws.delete_item(**delete, ExpressionAttributeValues={":v": {"N": "1"}})
        self.assertIsNone(self.get("a"))

    def test_transaction_is_all_or_nothing_and_gives_its_reasons(self):
        self.put("taken", v=7)
        put = {"TableName": self.table, "ConditionExpression": "attribute_not_exists(pk)"}
        writes = [
            {"Put": {**put, "Item": item(self.pk, "free")}},
            {"Put": {**put, "Item": item(self.pk, "taken"), "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}},
        ]
        error = self.refused("TransactionCanceledException", self.aws.transact_write_items, status=400, TransactItems=writes)
        self.assertEqual([reason["Code"] for reason in error["CancellationReasons"]], ["None", "ConditionalCheckFailed"])
        self.assertEqual(error["CancellationReasons"][1]["Item"]["v"], {"N": "7"})
        self.assertIsNone(self.get("free"))

    def test_transaction_writes_of_all_kinds(self):
        for sk, more in (("old", {}), ("seen", {}), ("counter", {"n": 1})):
            self.put(sk, **more)
        key = lambda sk: {"TableName": self.table, "Key": item(self.pk, sk)}
        self.aws.transact_write_items(TransactItems=[
            {"Put": {"TableName": self.table, "Item": item(self.pk, "new")}},
            {"Delete": key("old")},
            {"ConditionCheck": {**key("seen"), "ConditionExpression": "attribute_exists(pk)"}},
            {"Update": {**key("counter"), "UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}},
        ])
        self.assertEqual(self.get("counter")["n"], {"N": "2"})
        self.assertIsNone(self.get("old"))
        self.assertIsNotNone(self.get("new"))

    def test_transaction_refuses_one_item_twice(self):
        put = {"Put": {"TableName": self.table, "Item": item(self.pk, "a")}}
        self.refused("ValidationException", self.aws.transact_write_items, TransactItems=[put, put])

    def test_transaction_takes_100_items_and_no_more(self):
        puts = [{"Put": {"TableName": self.table, "Item": item(self.pk, f"{i:03}")}} for i in range(101)]
        self.refused("ValidationException", self.aws.transact_write_items, TransactItems=puts)
        self.aws.transact_write_items(TransactItems=puts[:100])
        self.assertEqual(self.query(Select="COUNT")["Count"], 100)

    def test_transaction_token_applies_once_and_refuses_another_body(self):
        self.put("a", n=0)
        token = unique("token")[:36]
        add = lambda n: [{"Update": {
            "TableName": self.table, "Key": item(self.pk, "a"), "UpdateExpression": "ADD n :n",
            "ExpressionAttributeValues": {":n": {"N": str(n)}}}}]
        for _ in range(2):
            self.aws.transact_write_items(TransactItems=add(1), ClientRequestToken=token)
        self.assertEqual(self.get("a")["n"], {"N": "1"})
        self.refused("IdempotentParameterMismatchException", self.aws.transact_write_items,
                     TransactItems=add(5), ClientRequestToken=token)

    def test_transaction_reads_in_the_order_asked(self):
        self.put("a", v=1)
        self.put("b", v=2)
        gets = [{"Get": {"TableName": self.table, "Key": item(self.pk, sk)}} for sk in ("b", "none", "a")]
        answers = self.aws.transact_get_items(TransactItems=gets)["Responses"]
        self.assertEqual([answer.get("Item", {}).get("v") for answer in answers], [{"N": "2"}, None, {"N": "1"}])

    def test_query_pages_through_everything_once(self):
        self.fill(7)
        seen, start = [], {}
        while True:
            page = self.query(Limit=3, **start)
            self.assertLessEqual(len(page["Items"]), 3)
            seen += [row["sk"]["S"] for row in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        self.assertEqual(seen, [f"k{i:02}" for i in range(7)])

    def test_query_backwards_and_by_range(self):
        self.fill(5)
        backwards = self.query(ScanIndexForward=False, Limit=2)["Items"]
        self.assertEqual([row["sk"]["S"] for row in backwards], ["k04", "k03"])
        between = self.query(KeyConditionExpression="pk = :p AND sk BETWEEN :a AND :b",
                             values={":a": {"S": "k01"}, ":b": {"S": "k03"}})
        self.assertEqual(between["Count"], 3)
        begins = self.query(KeyConditionExpression="pk = :p AND begins_with(sk, :a)", values={":a": {"S": "k0"}})
        self.assertEqual(begins["Count"], 5)

    def test_query_limit_counts_before_the_filter(self):
        self.fill(5)
        page = self.query(FilterExpression="n >= :n", values={":n": {"N": "3"}}, Limit=4)
        self.assertEqual((page["Count"], page["ScannedCount"]), (1, 4))
        self.assertIn("LastEvaluatedKey", page)

    def test_index_query_finds_and_refuses_a_consistent_read(self):
        self.fill(3)
        ask = {"TableName": self.table, "IndexName": "by-who", "KeyConditionExpression": "who = :o",
               "ExpressionAttributeValues": {":o": {"S": self.pk}}}
        self.assertEqual(self.aws.query(**ask)["Count"], 3)
        self.refused("ValidationException", self.aws.query, **ask, ConsistentRead=True)

    def test_consistent_read_sees_every_write(self):
        for i in range(20):
            self.put("a", n=i)
            self.assertEqual(self.get("a")["n"], {"N": str(i)})
            self.assertEqual(self.query(ConsistentRead=True)["Items"][0]["n"], {"N": str(i)})

    def test_batches_are_limited(self):
        puts = [{"PutRequest": {"Item": item(self.pk, f"{i:02}")}} for i in range(26)]
        self.refused("ValidationException", self.aws.batch_write_item, RequestItems={self.table: puts})
        answer = self.aws.batch_write_item(RequestItems={self.table: puts[:25]})
        self.assertEqual(answer["UnprocessedItems"], {})
        keys = [item(self.pk, f"{i:02}") for i in range(25)]
        got = self.aws.batch_get_item(RequestItems={self.table: {"Keys": keys, "ConsistentRead": True}})
        self.assertEqual(len(got["Responses"][self.table]), 25)

    def test_bad_items_are_refused(self):
        self.refused("ValidationException", self.aws.put_item, TableName=self.table, Item=item(self.pk, ""))
        self.refused("ValidationException", self.aws.put_item, TableName=self.table, Item={"pk": {"S": self.pk}})
        self.refused("ValidationException", self.aws.put_item, TableName=self.table, Item=item(self.pk, "a", v="x" * 410_000))
        self.refused("ValidationException", self.aws.put_item, TableName=self.table,
                     Item={**item(self.pk, "a"), "s": {"SS": []}})

    def test_unused_expression_values_are_refused(self):
        self.refused("ValidationException", self.aws.put_item, TableName=self.table, Item=item(self.pk, "a"),
                     ConditionExpression="attribute_not_exists(pk)", ExpressionAttributeValues={":x": {"S": "x"}})

    def test_numbers_keep_38_digits(self):
        number = "12345678901234567890123456789012345678"
        self.aws.put_item(TableName=self.table, Item={**item(self.pk, "a"), "n": {"N": number}})
        self.assertEqual(self.get("a")["n"], {"N": number})
        self.refused("ValidationException", self.aws.put_item, TableName=self.table,
                     Item={**item(self.pk, "a"), "n": {"N": number + "9"}})

    def test_binary_comes_back_as_it_went(self):
        blob = bytes(range(256))
        self.aws.put_item(TableName=self.table, Item={**item(self.pk, "a"), "b": {"B": blob}})
        self.assertEqual(self.get("a")["b"]["B"], blob)

    def test_scan_pages_through_everything_once(self):
        self.fill(5)
        pages = self.aws.get_paginator("scan").paginate(
            TableName=self.table, FilterExpression="pk = :p", ExpressionAttributeValues={":p": {"S": self.pk}},
            PaginationConfig={"PageSize": 2})
        self.assertEqual(sorted(row["sk"]["S"] for page in pages for row in page["Items"]), [f"k{i:02}" for i in range(5)])

    def test_unknown_table_is_named_so(self):
        self.refused("ResourceNotFoundException", self.aws.get_item, TableName=unique("none"), Key=item("a", "b"))

    def test_table_is_not_made_twice(self):
        self.refused("ResourceInUseException", self.aws.create_table, TableName=self.table, BillingMode="PAY_PER_REQUEST",
                     AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                     KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}])

    def test_time_to_live_is_kept(self):
        spec = {"Enabled": True, "AttributeName": "expires_at"}
        client("dynamodb").update_time_to_live(TableName=self.table, TimeToLiveSpecification=spec)
        described = self.aws.describe_time_to_live(TableName=self.table)["TimeToLiveDescription"]
        self.assertEqual(described["AttributeName"], "expires_at")
